"""``colorize-run completion``: the script that makes a shell complete commands, options, files and model names."""

from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem


class ModelName(click.types.StringParamType):
    """A model's name, or the path of its file."""

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> "list[CompletionItem[Any]]":  # quoted: with click 8.2 it is not generic
        """The names that begin so; files where none does."""
        from click.shell_completion import CompletionItem

        from colorize_run.model.library import available_models

        names = [CompletionItem(name) for name in available_models() if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


def complete_model_names(command: click.Command) -> None:
    """Let every parameter called ``model`` or ``models``, of ``command`` and its subcommands, complete model names."""
    for parameter in command.params:
        if parameter.name in ("model", "models"):
            parameter.type = ModelName()
    if isinstance(command, click.Group):
        for inner in command.commands.values():
            complete_model_names(inner)


@click.command(short_help="Print the completion script of a shell.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL on stdout: commands, options, files, and model names after -m.

    \b
    eval "$(colorize-run completion bash)"                                in ~/.bashrc
    eval "$(colorize-run completion zsh)"                                 in ~/.zshrc, after compinit
    colorize-run completion fish > ~/.config/fish/completions/colorize-run.fish
    """
    from click.shell_completion import get_completion_class

    group = context.find_root().command
    script_of = get_completion_class(shell)
    assert script_of is not None  # click knows all that the choice allows
    click.echo(script_of(group, {}, "colorize-run", "_COLORIZE_RUN_COMPLETE").source())
