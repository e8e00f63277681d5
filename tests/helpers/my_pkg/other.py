from harness.models.mlp import Mlp


class Other(Mlp):
    pass
