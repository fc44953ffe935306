//! What packages ship beside a program, made from its command line's own definition: manual pages and completions.
//!
//! Both programs have the hidden command `generate` for it, which `make` runs: they cannot disagree with `--help`.

mod man;

use std::io::{self, Write as _};

use clap::{Args, Command, ValueEnum};
use clap_complete::{Shell, generate};

use man::page;
#[allow(unused_imports, reason = "only one of the programs has a configuration file")]
pub(crate) use man::{Heading, document, text, verbatim};

/// Arguments of the command `generate`.
#[derive(Debug, Args)]
pub(crate) struct Generate {
    /// What to write to standard output
    #[arg(value_enum)]
    pub(crate) what: What,
}

/// What can be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum What {
    /// The manual page of the program, for `man`
    Man,
    /// The manual page of the configuration file, if the program has one
    ManConfig,
    /// Completions of bash
    Bash,
    /// Completions of zsh
    Zsh,
    /// Completions of fish
    Fish,
}

/// Writes completions of `command` for a shell.
fn completion(command: &mut Command, shell: Shell) -> Vec<u8> {
    let name = command.get_name().to_owned();
    let mut out = Vec::new();
    generate(shell, command, name, &mut out);
    out
}

/// Makes `what` of `command`, whose manual page is of `section`; `config` is that of its configuration file.
pub(crate) fn run(
    what: What,
    mut command: Command,
    section: &str,
    config: impl FnOnce(&Command) -> Option<String>,
) -> io::Result<()> {
    let made = match what {
        What::Man => page(command, section)?.into_bytes(),
        What::ManConfig => {
            command.build();
            let missing = || io::Error::new(io::ErrorKind::Unsupported, "there is no configuration file");
            config(&command).ok_or_else(missing)?.into_bytes()
        }
        What::Bash => completion(&mut command, Shell::Bash),
        What::Zsh => completion(&mut command, Shell::Zsh),
        What::Fish => completion(&mut command, Shell::Fish),
    };
    let mut out = io::stdout().lock();
    out.write_all(&made)?;
    out.flush()
}
