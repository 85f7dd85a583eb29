"""Tables of ``python -m training describe``."""

import torch
from rich.console import Console
from rich.table import Table
from torch import nn

from training.errors import TrainingError
from training.families import family_of
from training.inspection.describe import assignment_comparison, layers, macs_without_inserted_zeros, receptive_field
from training.networks import build
from training.recipe import Recipe
from training.recipes import RECIPES, find, models


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=170)


def _network(model: str, recipe_name: str = "tuned") -> tuple[Recipe, nn.Module]:
    recipe = find(model, recipe_name)
    return recipe, build(recipe.network, recipe.arguments)


def _recipes(described: Recipe) -> tuple[list[str], list[str]]:
    """The recipes of the model that build the same network as the one ``described``, and those that build another."""
    same: list[str] = []
    others: list[str] = []
    for name, recipe in RECIPES.items():
        if recipe.model == described.model:
            alike = (recipe.network, recipe.arguments) == (described.network, described.arguments)
            (same if alike else others).append(name.removeprefix(f"{described.model}-"))
    return same, others


def _inputs(recipe: Recipe, size: int | None) -> torch.Tensor:
    side = size or family_of(recipe.kind).input_side
    if side % recipe.kind.stride:
        raise TrainingError(f"{recipe.model} needs sides that are multiples of {recipe.kind.stride}, not {side}.")
    return torch.zeros(1, recipe.kind.channels, side, side)


def _field(recipe: Recipe, network: nn.Module) -> str:
    field = receptive_field(network, recipe.kind.channels, recipe.kind.stride)
    return f"{field} x {field}" if field else "whole picture"


def describe_one(model: str, recipe_name: str = "tuned", size: int | None = None) -> None:
    """Print layers and totals of a model as a recipe builds it. Errors: TrainingError."""
    recipe, network = _network(model, recipe_name)
    inputs = _inputs(recipe, size)
    table = Table(
        title=f"{recipe.name}: {type(network).__name__}({', '.join(f'{k}={v}' for k, v in recipe.arguments.items())})"
    )
    for heading in ("layer", "kind", "output", "parameters", "MACs"):
        table.add_column(heading, justify="right" if heading in ("parameters", "MACs") else "left")
    described = layers(network, inputs)
    for layer in described:
        shape = " x ".join(map(str, layer.output[1:]))
        table.add_row(layer.name, layer.kind, shape, f"{layer.parameters:,}" if layer.parameters else "", f"{layer.macs:,}")
    _console().print(table)
    parameters, macs = sum(p.numel() for p in network.parameters()), sum(layer.macs for layer in described)
    dense = macs_without_inserted_zeros(network, inputs)
    without_zeros = f" ({dense:,} without the zeros of zero-inserted filters)" if dense != macs else ""
    side, field = inputs.shape[-1], _field(recipe, network)
    _console().print(
        f"{parameters:,} parameters; {macs:,} MACs at {side} x {side}{without_zeros}; receptive field {field}\n",
        highlight=False,
    )


def describe_all(size: int | None = None) -> None:
    """Print one line for each model, and the assignment's comparison of convolutions."""
    headings = ("model", "network", "parameters", "input", "million MACs", "without zeros", "receptive field", "recipes")
    table, elsewhere = Table(*headings, title="Networks"), []
    for model in models():
        recipe, network = _network(model)
        inputs = _inputs(recipe, size)
        macs, dense = sum(layer.macs for layer in layers(network, inputs)), macs_without_inserted_zeros(network, inputs)
        parameters = sum(p.numel() for p in network.parameters())
        same, others = _recipes(recipe)
        elsewhere += [f"{model} {', '.join(others)}"] if others else []
        shape = " x ".join(map(str, inputs.shape[1:]))
        figures = (f"{macs / 1e6:.1f}", f"{dense / 1e6:.1f}" if dense != macs else "")
        table.add_row(
            model, type(network).__name__, f"{parameters:,}", shape, *figures, _field(recipe, network), ", ".join(same)
        )
    _console().print(table)
    _console().print(f"Other networks (`describe MODEL --recipe NAME`): {'; '.join(elsewhere)}.\n", highlight=False)
    comparison = Table("convolution", "weights", "receptive field", title="The assignment's comparison")
    for name, weights, field in assignment_comparison():
        comparison.add_row(name, str(weights), f"{field} x {field}")
    _console().print(comparison)
