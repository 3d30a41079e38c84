"""A command: its work, its help, and the words that it accepts."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from onecycle.cli.call import Call
from onecycle.cli.flags import Words
from onecycle.cli.options import Options
from onecycle.config import Recipe
from onecycle.config.declaring import Setting, settings


@dataclass(frozen=True)
class Command:
    """A subcommand.

    Attributes:
        work: the function that does the work.
        summary: what it does, for the page of all commands.
        operand: placeholder for the word that is not a flag; empty: there is none.
        told: help for the operand and for flags with a special meaning here, by their names.
        options: its flags from `Options`.
        accepts: which settings of a recipe are its flags.
        many: whether the operand may be several words.
        examples: command lines, without the program's name, for the help.
        common: flags that come first in the help, before all others.
    """

    work: Callable[[Call], None]
    summary: str
    operand: str = ""
    told: Mapping[str, str] = field(default_factory=dict)
    options: tuple[str, ...] = ()
    accepts: Callable[[Setting], bool] = lambda _: False
    many: bool = False
    examples: tuple[str, ...] = ()
    common: tuple[str, ...] = ()

    @property
    def _operand_required(self) -> bool:
        """Whether no flag can take the operand's place."""
        return not {"config", "clean", "update"} & set(self.options)

    @property
    def fields(self) -> tuple[str, ...]:
        """Its flags that are settings of a recipe."""
        return tuple(each.name for each in settings(Recipe).values() if self.accepts(each))

    def words(self, command: str, base: Recipe | None = None) -> Words:
        """What the command accepts.

        Args:
            command: its name.
            base: the recipe whose class says which settings there are, and whose values are the
                defaults. Without one it is that of all defaults.
        """
        base = base or Recipe()
        own = {name: each for name, each in settings(Options).items() if name in self.options}
        of_recipe = {
            name: replace(each, default=getattr(base, name))
            for name, each in settings(type(base)).items()
            if self.accepts(each)
        }
        if twice := own.keys() & of_recipe.keys():
            raise TypeError(f"both an option and a setting of a recipe: {', '.join(twice)}")
        flags = own | of_recipe
        for name, told in self.told.items():
            if name in flags:
                flags[name] = replace(flags[name], help=told, default=None)
        return Words(command, self.operand, flags, self._operand_required, self.many)
