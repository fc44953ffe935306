//! `pdtpd.toml(5)`, made from the options of `pdtpd serve`: each key is one of them.

use std::fmt::Write as _;

use clap::{Arg, ArgAction, Command};

use super::file::KEYS;
use super::generate::{Heading, document, text, verbatim};

const EXAMPLE: &str = r#"# /etc/pdtpd.toml
dir = "/srv/files"
listen = ["[::]:6086"]
name = "files.example.org"
limit-up = "50M"
exclude = ["*.tmp", "cache/"]
grace = "30s"

[directory."/iso"]
max-origin-rate = "20M"
max-peers = 100

[directory."/internal"]
networks = ["10.0.0.0/8", "fd00::/8"]
"#;

/// The one key that is no option: a table for each directory.
const DIRECTORY: &str = r#".TP
\fBdirectory\fR = tables: \fB[directory."/path"]\fR
Rules for a directory and all below it. For each rule the nearest directory that has it counts. The path is as clients see
it, below the served directory: \fB/\fR is all of it. That a directory is not there, or is a file, is logged at the start and
no reason not to serve. With \fBnetworks\fR it is one if the same is there in other letters, or the path is one on the disk:
it would protect nothing. A rule is one of
.RS
.TP
\fBpriority\fR = number
What has more goes first; may be negative [default: 0]
.TP
\fBmax\-origin\-rate\fR = "RATE"
Bytes a second that this server sends of it, to browsers as well; 0: no limit. It is the rate of all files together for
which no directory further down has another, and what is sent of others does not count: with a rate for \fB/\fR and one for
\fB/iso\fR, each has its own. \fB\-\-limit\-up\fR holds for all of it
.TP
\fBmax\-peers\fR = number
Clients that may download it at once; others wait; 0: no limit. As with the rate, each directory that says a number has places
of its own, for the files for which no directory further down says another. Browsers do not count. Who does not answer for ten
seconds, or fetches nothing for thirty, leaves its place to those who wait, and waits as well
.TP
\fBnetworks\fR = ["10.0.0.0/8", "fd00::/8"]
From where it may be seen; others are denied, and do not find it in listings nor on the status page. It is the path that
counts: what a link elsewhere leads to (\fB\-\-follow\-symlinks\fR) is not closed there
.TP
\fBpeers\fR = "on" | "off"
Whether clients pass it on to each other [default: on]
.TP
\fBpolicy\fR = "fast" | "frugal"
As the option of this name, for this directory
.RE
"#;

/// The page. `command` is that of the whole program.
pub(crate) fn config(command: &Command) -> Option<String> {
    let serve = command.find_subcommand("serve")?;
    let mut body = ".SH DESCRIPTION\n".to_owned();
    for line in [
        "Read by \\fBpdtpd serve \\-\\-config\\fR \\fIFILE\\fR. It is TOML, and its keys are the options of the command",
        "line without their dashes; what is said there wins. An unknown key is an error, and so is a value",
        "that makes no sense. All keys may be left out, but the directory must be said in one of the two places.",
        ".SH KEYS",
    ] {
        let _ = writeln!(body, "{line}");
    }
    for key in KEYS {
        let id = key.replace('-', "_");
        if key == "directory" {
            body += DIRECTORY;
            continue;
        }
        let arg = serve.get_arguments().find(|arg| arg.get_id() == id.as_str())?;
        let _ = write!(body, ".TP\n\\fB{}\\fR = {}", key.replace('-', "\\-"), text(&form(arg)));
        let help =
            arg.get_long_help().or_else(|| arg.get_help()).map(ToString::to_string).unwrap_or_default();
        for (index, paragraph) in help.split("\n\n").enumerate() {
            if index > 0 {
                body += ".sp\n";
            }
            body += &text(&paragraph.replace("; repeatable", "; one, or a list").replace('\n', " "));
        }
    }
    body += ".SH EXAMPLE\n";
    body += &verbatim(EXAMPLE);
    body += ".SH \"SEE ALSO\"\n.BR pdtpd (8)\n";
    let about = "configuration file of the PDTP server";
    Some(document(&Heading { name: "pdtpd.toml", section: "5", about }, &body))
}

/// What a value looks like.
fn form(arg: &Arg) -> String {
    let name = || arg.get_value_names().map(|names| names.join(" ")).unwrap_or_else(|| "VALUE".to_owned());
    match arg.get_action() {
        ArgAction::SetTrue => "true | false".to_owned(),
        _ if name() == "yes|no" => "true | false".to_owned(),
        ArgAction::Append => format!("\"{0}\" | [\"{0}\", …]", name()),
        _ => format!("\"{}\"", name()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn every_key_is_explained() {
        let mut command = super::super::args::Cli::command();
        command.build();
        let page = config(&command).unwrap();
        for key in KEYS {
            assert!(page.contains(&format!("\\fB{}\\fR = ", key.replace('-', "\\-"))), "{key}");
        }
        for rule in super::super::rules::KEYS {
            assert!(page.contains(&format!("\\fB{}\\fR = ", rule.replace('-', "\\-"))), "{rule}");
        }
    }

    #[test]
    fn the_examples_are_right() {
        let packaged = include_str!("../../../packaging/pdtpd.toml");
        let is_setting = |line: &&str| line.contains(" = ") || line.starts_with('[');
        let settings =
            packaged.lines().map(|line| line.strip_prefix("# ").unwrap_or(line)).filter(is_setting);
        let packaged = settings.collect::<Vec<_>>().join("\n");
        let readme = include_str!("../../../README.md").split("```toml\n").nth(1).unwrap();
        let readme = readme.split("```").next().unwrap();
        for example in [EXAMPLE, &packaged, readme] {
            let file = super::super::file::File::parse(example).unwrap();
            assert_eq!(file.directories.unwrap().len(), 2, "{example}");
        }
    }
}
