//! `pdtp watch`: changes on the server as they happen.

use std::io::Write as _;

use pdtp::client::{Change, EventBody, EventMask, Seeding};
use pdtp::wire::{PdtpUri, UrlPath};
use serde_json::json;

use crate::args::{self, FOREVER, Watch};
use crate::exit::Failure;
use crate::link::{App, Link};
use crate::term;

pub(crate) fn run(args: &Watch) -> Result<(), Failure> {
    let app = App::start(args::config(&args.network, None, Seeding::Off)?)?;
    // To hear nothing for long is the rule here.
    let mut link = app.link(&args.uri, args.network.patience(FOREVER))?;
    let op = begin(&mut link, &args.uri)?;
    tell(args, "watching", &args.uri.path, None)?;
    loop {
        let Some(event) = link.next()? else { continue };
        match event.body {
            EventBody::Changed { op: of, path, change } if of == op => match change {
                Change::File { .. } => tell(args, "file", &path, Some(&change))?,
                Change::Dir => tell(args, "dir", &path, None)?,
                Change::Removed => tell(args, "removed", &path, None)?,
                Change::Rescan => tell(args, "rescan", &path, None)?,
                Change::Refused(error) => return Err(error.into()),
            },
            EventBody::Overflow { types, .. } if types.contains(EventMask::CHANGED) => {
                tell(args, "rescan", &args.uri.path, None)?;
            }
            _ => {}
        }
    }
}

/// Begins to watch; the server knows of it when this returns.
pub(crate) fn begin(link: &mut Link<'_>, uri: &PdtpUri) -> Result<u64, Failure> {
    let op = link.session.watch(&uri.path, 0)?;
    // A question asked later and answered: what was said before has arrived. There always is a root.
    let root = PdtpUri { path: UrlPath::root(), is_dir: true, root: None, ..uri.clone() };
    if let Err(failure) = link.stat(&root) {
        // Of a server that knows nothing of watching it is known by now, and then that is what is wrong.
        link.session.watch(&uri.path, 0)?;
        return Err(failure);
    }
    Ok(op)
}

fn tell(args: &Watch, word: &str, path: &UrlPath, file: Option<&Change>) -> Result<(), Failure> {
    let (root, size, mtime) = match file {
        Some(Change::File { root, size, mtime }) => (Some(*root), Some(*size), *mtime),
        _ => (None, None, None),
    };
    let line = if args.json {
        let uri = PdtpUri { path: path.clone(), is_dir: word == "dir", root, ..args.uri.clone() };
        let mut value = json!({"event": word, "path": path.as_str(), "uri": uri.to_string()});
        if let (Some(root), Some(size)) = (root, size) {
            value["root"] = json!(root);
            value["size"] = json!(size);
            value["mtime"] = json!(mtime);
        }
        value.to_string()
    } else {
        let name: Vec<u8> = path.components().flat_map(|name| [b"/".to_vec(), name].concat()).collect();
        let name = if path.is_root() { "/".to_owned() } else { term::safe(&name) };
        let size = size.map_or_else(String::new, |size| format!("  {}", term::size(size)));
        format!("{word:<8}  {name}{size}")
    };
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).map_err(Failure::stdout)
}
