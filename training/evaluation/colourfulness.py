"""How colourful a picture looks."""

from torch import Tensor


def colourfulness(rgb: Tensor) -> Tensor:
    """Colourfulness of pictures (N, 3, H, W), 0..1, on the scale of bytes: (N,); 0 for grey, about 100 for garish.

    Source: Hasler and Süsstrunk 2003, "Measuring colourfulness in natural images", M3.
    """
    red, green, blue = (255 * rgb).double().unbind(dim=1)
    across = (red - green).flatten(1), ((red + green) / 2 - blue).flatten(1)  # 2 x (N, H·W)
    spread = (across[0].var(dim=1, correction=0) + across[1].var(dim=1, correction=0)).sqrt()
    mean = (across[0].mean(dim=1) ** 2 + across[1].mean(dim=1) ** 2).sqrt()
    metric: Tensor = spread + 0.3 * mean
    return metric
