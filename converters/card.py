"""What a file says of itself, for apps that know nothing of this project."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelCard:
    """Texts of one model, "" for those that are not known.

    Attributes:
        description: One line.
        license: Of the weights, as their source names it.
        labels: Class names in the order of the output, () for none.

    Raises:
        ValueError: If a label is empty or has a line break: files of labels have one a line.
    """

    name: str = ""
    description: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    labels: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for i, label in enumerate(self.labels):
            if label.splitlines() != [label]:
                raise ValueError(f"class {i} is named {label!r}; a name is one line of text, rename the class")
