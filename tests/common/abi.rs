//! What `include/pdtp.h` promises to compiled programs: its functions with their versions, structs and constants.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use crate::c;
use crate::common::{PATIENCE, Proc, scratch};

/// What the header says, as far as compiled programs depend on it.
#[derive(Debug, Default)]
pub struct Abi {
    /// Prototypes on one line, by name.
    pub functions: BTreeMap<String, String>,
    /// Since which version each function is there.
    pub since: BTreeMap<String, String>,
    /// Fields of each struct, in order.
    pub structs: BTreeMap<String, Vec<String>>,
    /// Names of constants, of enums and macros.
    pub constants: BTreeSet<String>,
    /// Types of functions that programs give.
    pub callbacks: BTreeMap<String, String>,
}

impl Abi {
    /// Reads the header. It is made by cbindgen, so its form is known.
    pub fn of_header(text: &str) -> Self {
        let mut abi = Self::default();
        let mut rest = text.split_once("extern \"C\" {").expect("extern \"C\"").1;
        let mut comment = String::new();
        let mut fields: Option<Vec<String>> = None;
        while !rest.is_empty() {
            rest = rest.trim_start();
            if let Some(from) = rest.strip_prefix("/*") {
                let (inside, after) = from.split_once("*/").expect("comments end");
                comment = inside.to_owned();
                rest = after;
                continue;
            }
            if rest.starts_with('#') {
                // A line that ends in a backslash goes on.
                let end = rest.match_indices('\n').find(|(at, _)| !rest[..*at].ends_with('\\'));
                let (line, after) = end.map_or((rest, ""), |(at, _)| rest.split_at(at));
                if let Some(define) = line.strip_prefix("#define ")
                    && let Some((name, _)) = define.split_once(' ')
                    && !name.contains('(')
                    && !name.ends_with("_STRING")
                {
                    abi.constants.insert(name.to_owned());
                }
                rest = after;
                continue;
            }
            // Up to what ends a statement, or begins or ends a block.
            let end = rest.find([';', '{', '}', ',']).unwrap_or(rest.len() - 1);
            let end = if rest[..end].contains('(') { rest.find(';').expect("a prototype ends") } else { end };
            let (statement, stop) = (one_line(&rest[..end]), rest.as_bytes()[end]);
            rest = &rest[end + 1..];
            match (stop, &mut fields) {
                (b'{', _) => fields = statement.starts_with("typedef struct").then(Vec::new),
                (b'}', Some(_)) => {
                    let (name, after) = rest.split_once(';').expect("a typedef has a name");
                    abi.structs.insert(name.trim().to_owned(), fields.take().unwrap_or_default());
                    rest = after;
                }
                (b'}', None) => rest = rest.split_once(';').map_or("", |(_, after)| after),
                (b';', Some(fields)) => {
                    fields.push(statement.rsplit([' ', '*']).next().unwrap_or_default().to_owned());
                }
                (b',', None) => {
                    let name = statement.split(' ').next().unwrap_or_default();
                    abi.constants.insert(name.to_owned());
                }
                (b';', None) if statement.starts_with("typedef") && statement.contains("(*") => {
                    let name = statement.split_once("(*").and_then(|(_, after)| after.split_once(')'));
                    abi.callbacks.insert(name.expect("a name").0.to_owned(), statement.clone());
                }
                (b';', None) if statement.contains('(') && !statement.starts_with("typedef") => {
                    let name =
                        statement.split('(').next().and_then(|before| before.rsplit([' ', '*']).next());
                    let name = name.expect("a name").to_owned();
                    let since = comment.rsplit_once("Since ").map(|(_, after)| after.trim_start());
                    let since =
                        since.map(|text| text.split(|c: char| c != '.' && !c.is_ascii_digit()).next());
                    let since = since.flatten().unwrap_or_default().trim_end_matches('.').to_owned();
                    abi.since.insert(name.clone(), since);
                    abi.functions.insert(name, statement.clone());
                }
                _ => {}
            }
        }
        abi
    }

    /// The list of symbols for the linker: a node for each version, each building on the one before.
    pub fn map(&self) -> String {
        let mut nodes: BTreeMap<Vec<u32>, Vec<&str>> = BTreeMap::new();
        for (name, since) in &self.since {
            let version = since.split('.').map(|number| number.parse().expect("Since X.Y.Z")).collect();
            nodes.entry(version).or_default().push(name);
        }
        let mut text =
            "# Which functions libpdtp.so exports, and since which version each is there. Made by `make header`.\n"
                .to_owned();
        let mut before = String::new();
        for (index, (version, names)) in nodes.iter().enumerate() {
            let node = format!("PDTP_{}", version.iter().map(u32::to_string).collect::<Vec<_>>().join("."));
            let _ = writeln!(text, "{node} {{\n    global:");
            for name in names {
                let _ = writeln!(text, "        {name};");
            }
            if index == 0 {
                text += "    local:\n        *;\n";
            }
            let _ = writeln!(text, "}}{before};");
            before = format!(" {node}");
        }
        text
    }

    /// What tests/abi.txt keeps. Sizes, places and numbers are asked of the compiler.
    pub fn list(&self) -> String {
        let mut asks = String::new();
        for (name, fields) in &self.structs {
            let _ = writeln!(asks, "printf(\"struct {name} size %zu\\n\", sizeof({name}));");
            for field in fields {
                let _ = writeln!(
                    asks,
                    "printf(\"struct {name} {field} at %zu, %zu bytes\\n\", offsetof({name}, {field}), sizeof((({name} *)0)->{field}));"
                );
            }
        }
        for name in &self.constants {
            let _ = writeln!(asks, "printf(\"constant {name} = %ld\\n\", (long){name});");
        }
        let program =
            format!("#include <stdio.h>\n#include <pdtp.h>\nint main(void)\n{{\n{asks}return 0;\n}}\n");
        let dir = scratch();
        let (source, out) = (dir.path().join("abi.c"), dir.path().join("abi"));
        std::fs::write(&source, program).unwrap();
        let mut command = std::process::Command::new("cc");
        command.arg("-I").arg(c::source("include")).arg(&source).arg("-o").arg(&out);
        Proc::spawn(command).finish(PATIENCE).expect(0);
        let told = Proc::spawn(std::process::Command::new(&out)).finish(PATIENCE).expect(0).text();
        let mut text = "# The ABI of libpdtp on 64-bit Linux, made by `make header`: what is here must stay (docs/abi.md).\n"
            .to_owned();
        for (name, prototype) in &self.functions {
            let _ = writeln!(text, "function {name} PDTP_{}: {prototype}", self.since[name]);
        }
        for prototype in self.callbacks.values() {
            let _ = writeln!(text, "callback {prototype}");
        }
        text + &told
    }
}

fn one_line(text: &str) -> String {
    // What is commented within a prototype or an enum was cut off before.
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace("( ", "(").replace("* ", "*")
}
