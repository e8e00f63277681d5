from dataclasses import dataclass, field
from typing import Annotated, ClassVar

from harness.allocation.base import Allocation, Layers
from harness.allocation.shared.patterns import check_patterns, first_match
from harness.vocabulary.apportion import reserve
from harness.vocabulary.tensors import Counts

DENSITY = "a number in [0, 1]; write e.g. {conv1: 0.5}"


@dataclass(frozen=True)
class Manual(Allocation):
    """Named layers keep the given density; the others keep equal fractions of the rest.

    densities: pattern -> kept fraction of the layer's units, in [0, 1]. A pattern is the name of a
    layer ("fc1") or of its weight ("fc1.weight"), or has wildcards ("conv*"); of several that fit
    a layer the first counts. Without any, the rule is uniform.

    A named layer keeps round(density * units), as far as they are alive, at every level: the
    schedule moves the others only. If more is to be kept than that and all of the others, the
    named layers grow in proportion. Their densities are floors like min_density: less than they
    hold cannot be kept.

    Raises:
        ValueError: densities is no mapping of names to fractions; when used, a pattern fits no
        layer.
    """

    densities: dict[str, Annotated[float, DENSITY]] = field(default_factory=dict)

    floor_keys: ClassVar[str] = "densities, min_units, min_density and max_share"

    def floors(self, layers: Layers) -> Counts:
        check_patterns("densities", self.densities, layers)
        named = self._named(layers)
        return {
            name: max(least, named.get(name, 0)) for name, least in super().floors(layers).items()
        }

    def distribute(self, layers: Layers, keep: int) -> Counts:
        sizes = {name: layer.units for name, layer in layers.items()}
        alive = {name: layer.alive for name, layer in layers.items()}
        return reserve(keep, self._named(layers), sizes, alive)

    def _named(self, layers: Layers) -> Counts:
        fits = {name: first_match(self.densities, name) for name in layers}
        return {
            name: min(layers[name].alive, round(self.densities[pattern] * layers[name].units))
            for name, pattern in fits.items()
            if pattern is not None
        }
