"""Keeps what is known during a forward pass: ids, labels of tensors, and the module that runs."""

from collections.abc import Sequence

from torch import Tensor, nn

from harness.groups.ids import Ids, IdTable, Product
from harness.groups.tracing.labels import Labels


class Trace:
    """Joins and pins ids as the operators of a forward pass demand."""

    def __init__(self, model: nn.Module):
        self.table = IdTable(model)
        self.labels = Labels(self.table)
        self.modules: list[tuple[str, nn.Module]] = []  # that are being called, outermost first
        self._unread: dict[int, list[tuple[Ids, str]]] = {}  # by id of the tensor

    @property
    def module(self) -> str:
        return self.modules[-1][0] if self.modules else ""

    def refuse(self, operator: str, read: Sequence[Tensor], made: Sequence[Tensor]) -> None:
        """Pins all that an operator reads; its results have no ids."""
        self.pin(read, f"operator {operator} has no rule")
        for out in made:
            self.labels.put(out, [])

    def pin(self, what: Sequence[Tensor | Ids], why: str) -> None:
        """Pins the ids of tensors, or ids, for a reason, to which the module is added."""
        where = self._where()
        self.read([item for item in what if isinstance(item, Tensor)])
        for item in what:
            for ids in self.labels.ids(item) if isinstance(item, Tensor) else [item]:
                self.table.pin(ids, f"{why}{where}")

    def pin_once_read(self, made: Sequence[Tensor], ids: Ids, why: str) -> None:
        """Pins ids for a reason if one of these tensors is read by anything."""
        for out in made:
            self._unread.setdefault(id(out), []).append((ids, f"{why}{self._where()}"))

    def read(self, tensors: Sequence[Tensor]) -> None:
        for tensor in tensors:
            for ids, reason in self._unread.pop(id(tensor), ()):
                self.table.pin(ids, reason)

    def cost(self, sizes: Sequence[int], ids: Sequence[Ids | None]) -> None:
        """Notes a product of two activations: its sizes, and the ids along them."""
        self.table.products.append(Product(self.module, tuple(sizes), tuple(ids)))

    def tie(self, one: Ids | None, other: Ids | None, why: str) -> None:
        """Joins the ids of two dimensions that must have one size; pins one if it is alone."""
        if one is None and other is None:
            return
        if one is None or other is None or len(one) != len(other):
            self.pin([ids for ids in (one, other) if ids is not None], why)
        else:
            self.table.join(one, other)

    def _where(self) -> str:
        if not self.module:
            return ""
        name, module = self.modules[-1]
        return f" in {name} ({type(module).__name__})"
