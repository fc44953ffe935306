//! Manual pages: one for a program, with a section for each of its commands.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::io;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

/// What the head line of a page says of it.
pub(crate) struct Heading<'a> {
    pub(crate) name: &'a str,
    pub(crate) section: &'a str,
    pub(crate) about: &'a str,
}

/// Where in the manual a section is.
fn manual(section: &str) -> &'static str {
    match section {
        "1" => "User Commands",
        "5" => "File Formats",
        "8" => "System Administration",
        _ => "PDTP",
    }
}

/// A whole page of `heading` and `body`, which is roff.
pub(crate) fn document(heading: &Heading, body: &str) -> String {
    let Heading { name, section, about } = heading;
    let source = concat!("pdtp ", env!("CARGO_PKG_VERSION"));
    let title = name.to_uppercase();
    let about = text(about);
    // Apostrophes and dashes in what people copy are to stay what they are.
    format!(
        ".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n.TH {title} {section} \"\" \"{source}\" \"{}\"\n.SH NAME\n{name} \\- {about}{body}",
        manual(section)
    )
}

/// The page of a program and all its commands.
pub(super) fn page(mut command: Command, section: &str) -> io::Result<String> {
    command.build();
    let mut seen = BTreeSet::new();
    let mut body = Vec::new();
    let man = Man::new(command.clone());
    man.render_synopsis_section(&mut body)?;
    man.render_description_section(&mut body)?;
    let mut body = strings(body);
    let _ = writeln!(body, ".SH COMMANDS");
    for sub in command.get_subcommands().filter(|sub| is_shown(sub)) {
        let about = sub.get_about().map(ToString::to_string).unwrap_or_default();
        let _ = write!(body, ".TP\n\\fB{}\\fR\n{}", sub.get_name(), text(&about));
    }
    body += &after(&command, ".SH", &mut seen);
    for sub in command.get_subcommands().filter(|sub| is_shown(sub)) {
        let full = format!("{} {}", command.get_name(), sub.get_name());
        // Names of options are not hyphenated words: the heading is the command as it is typed.
        let _ = writeln!(body, ".SH \"{}\"", full.to_uppercase());
        let man = Man::new(sub.clone().bin_name(full).disable_help_flag(true));
        let mut part = Vec::new();
        man.render_synopsis_section(&mut part)?;
        man.render_description_section(&mut part)?;
        man.render_options_section(&mut part)?;
        let part = strings(part);
        let part = part.replacen(".SH SYNOPSIS\n", "", 1).replacen(".SH DESCRIPTION\n", ".PP\n", 1);
        body += &part.replace(".SH ", ".SS ");
        body += &after(sub, ".SS", &mut seen);
    }
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    body += ".SH \"SEE ALSO\"\n.BR pdtp (1),\n.BR pdtpd (8),\n.BR pdtpd.toml (5),\n.BR libpdtp (3)\n";
    Ok(document(&Heading { name: command.get_name(), section, about: &about }, &body))
}

fn is_shown(command: &Command) -> bool {
    !command.is_hide_set() && command.get_name() != "help"
}

/// The text after the options: examples, formats and tables, which stay as they are set. What another command has
/// said already (the table of exit codes) is left out.
fn after(command: &Command, level: &str, seen: &mut BTreeSet<String>) -> String {
    let Some(help) = command.get_after_long_help().or_else(|| command.get_after_help()) else {
        return String::new();
    };
    let mut blocks: Vec<(String, Vec<String>)> = vec![(String::new(), Vec::new())];
    for line in help.to_string().lines() {
        match line.strip_suffix(':').filter(|title| is_title(title)) {
            Some(title) => blocks.push((title.to_owned(), Vec::new())),
            None => blocks.last_mut().expect("never empty").1.push(line.to_owned()),
        }
    }
    let mut out = String::new();
    for (title, lines) in blocks {
        let content = lines.join("\n");
        let content = content.trim_matches('\n');
        if content.is_empty() || !seen.insert(format!("{title}\n{content}")) {
            continue;
        }
        if title.is_empty() {
            out += ".PP\n";
        } else {
            let title = if level == ".SH" { title.to_uppercase() } else { title };
            let _ = writeln!(out, "{level} \"{title}\"");
        }
        out += &verbatim(content);
    }
    out
}

/// "Examples" is one; a sentence that introduces a list is part of the text.
fn is_title(line: &str) -> bool {
    line.starts_with(|first: char| first.is_uppercase()) && line.split(' ').count() <= 2
}

/// Lines that keep their breaks and blanks.
pub(crate) fn verbatim(content: &str) -> String {
    let mut out = ".nf\n".to_owned();
    for line in content.lines() {
        if line.is_empty() {
            out.push('\n');
        } else {
            out += &text(line);
        }
    }
    out + ".fi\n"
}

/// A line of text, so written that nothing in it is an instruction.
pub(crate) fn text(line: &str) -> String {
    let mut roff = Roff::new();
    roff.text([roman(line)]);
    roff.to_roff()
}

fn strings(bytes: Vec<u8>) -> String {
    // What clap_mangen writes, it writes from strings.
    let made = String::from_utf8_lossy(&bytes).into_owned();
    // Each part defines the apostrophe again.
    made.replace(".ie \\n(.g .ds Aq \\(aq\n.el .ds Aq '\n", "")
}
