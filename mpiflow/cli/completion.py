"""``completion``: a script with which a shell completes verbs, options and their values; written from the parser itself."""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

from mpiflow.report.console import say

HELP = "print a script for the completion of bash, zsh or fish"
EPILOG = """\
examples:
  eval "$(mpiflow completion bash)"               in ~/.bashrc
  eval "$(mpiflow completion zsh)"                in ~/.zshrc, after compinit
  mpiflow completion fish > ~/.config/fish/completions/mpiflow.fish
"""


@dataclass(frozen=True)
class Option:
    """One option of a verb.

    Attributes:
        names: Its names: -o, --output.
        text: What it is for.
        values: What may follow; empty for a file or anything else.
        takes: Whether something follows.
    """

    names: tuple[str, ...]
    text: str
    values: tuple[str, ...]
    takes: bool


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments of this verb."""
    parser.add_argument("shell", choices=list(_SCRIPTS), help="the shell")


def execute(chosen: argparse.Namespace) -> int:
    """Print the script."""
    from mpiflow.cli.main import parsers  # which imports this module

    say(_SCRIPTS[chosen.shell](parsers()[1]).rstrip("\n"))
    return 0


def options(parser: argparse.ArgumentParser) -> Iterator[Option]:
    """Give the options of a verb."""
    for action in parser._actions:              # argparse has no other way
        if action.option_strings and action.help is not argparse.SUPPRESS:
            values = tuple(map(str, action.choices or ()))
            yield Option(tuple(action.option_strings), action.help or "", values, action.nargs != 0)


def words(parser: argparse.ArgumentParser) -> list[str]:
    """Give the values of the first positional argument, if they are few."""
    positional = (action for action in parser._actions if not action.option_strings and action.choices)
    return next((list(map(str, action.choices)) for action in positional), [])


def _bash(verbs: dict[str, argparse.ArgumentParser]) -> str:
    cases, values = [], []
    for verb, parser in verbs.items():
        found = list(options(parser))
        cases.append(f'    {verb}) words="{" ".join([*words(parser), *[name for one in found for name in one.names]])}" ;;')
        values += [f'    {verb}:{name}) COMPREPLY=($(compgen -W "{" ".join(one.values)}" -- "$word")); return ;;'
                   for one in found for name in one.names if one.values]
    return f"""\
_mpiflow() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}" before="${{COMP_WORDS[COMP_CWORD-1]}}" verb="" words=""
  local i; for ((i = 1; i < COMP_CWORD; i++)); do case "${{COMP_WORDS[i]}}" in
    {"|".join(verbs)}) verb="${{COMP_WORDS[i]}}"; break ;; esac; done
  if [[ -z $verb ]]; then words="{" ".join(verbs)} --help --version"; fi
  case "$verb:$before" in
{chr(10).join(values)}
  esac
  case "$verb" in
{chr(10).join(cases)}
  esac
  COMPREPLY=($(compgen -W "$words" -- "$word") $(compgen -f -- "$word"))
}}
complete -o filenames -F _mpiflow mpiflow
"""


def _zsh(verbs: dict[str, argparse.ArgumentParser]) -> str:
    cases = []
    for verb, parser in verbs.items():
        lines = [_zsh_option(one) for one in options(parser)]
        first = words(parser)
        lines += [f"'1:word:({' '.join(first)})'"] if first else []
        cases.append(f"    {verb}) _arguments {' '.join(lines)} '*:file:_files' ;;")
    described = " ".join(f"'{verb}:{_plain(parser.description)}'" for verb, parser in verbs.items())
    return f"""\
#compdef mpiflow
_mpiflow() {{
  local -a verbs; verbs=({described})
  if (( CURRENT == 2 )); then _describe verb verbs; _files; return; fi
  local verb=$words[2]
  shift words; (( CURRENT-- ))
  case "$verb" in
{chr(10).join(cases)}
    *) _files ;;
  esac
}}
compdef _mpiflow mpiflow
"""


def _zsh_option(option: Option) -> str:
    after = f":value:({' '.join(option.values)})" if option.values else ":value:_files" if option.takes else ""
    names = f"{{{','.join(option.names)}}}" if len(option.names) > 1 else option.names[0]
    return f"{names}'[{_plain(option.text)}]{after}'"


def _fish(verbs: dict[str, argparse.ArgumentParser]) -> str:
    lines = [f"complete -c mpiflow -n __fish_use_subcommand -a {verb} -d '{_plain(parser.description)}'"
             for verb, parser in verbs.items()]
    for verb, parser in verbs.items():
        where = f"complete -c mpiflow -n '__fish_seen_subcommand_from {verb}'"
        lines += [f"{where} -a '{' '.join(words(parser))}'"] if words(parser) else []
        lines += [f"{where} {_fish_option(one)}" for one in options(parser)]
    return "\n".join(lines) + "\n"


def _fish_option(option: Option) -> str:
    names = [f"-l {name[2:]}" if name.startswith("--") else f"-s {name[1:]}" for name in option.names]
    after = [f"-x -a '{' '.join(option.values)}'"] if option.values else ["-r"] if option.takes else []
    return " ".join([*names, *after, f"-d '{_plain(option.text)}'"])


def _plain(text: str) -> str:
    """A text that means nothing to a shell: its first part, without quotes and brackets."""
    kept = "".join(" " if letter in "'\"[]\\`$:%" else letter for letter in text.partition(";")[0])
    return " ".join(kept.split())


_SCRIPTS = {"bash": _bash, "zsh": _zsh, "fish": _fish}
