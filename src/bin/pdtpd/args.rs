//! What can be said on the command line, and what it means together with the configuration file.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{ArgAction, Args, Parser, Subcommand, ValueEnum};
use pdtp::content::PieceSize;
use pdtp::globs::Globs;
use pdtp::server::{Directories, SendPolicy};

use super::failure::Failure;
use super::file::File;
use super::generate::Generate;
use super::{rules, units};

/// Serve directories to PDTP clients and browsers.
#[derive(Debug, Parser)]
#[command(
    name = "pdtpd",
    version,
    about,
    subcommand_required = true,
    arg_required_else_help = true,
    max_term_width = 100
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Serve a directory
    #[command(after_help = SHORT_EXAMPLE, after_long_help = EXAMPLES)]
    Serve(Box<ServeArgs>),
    /// Look at the hashes that are kept in a state directory, while no pdtpd uses it
    Catalogue(CatalogueArgs),
    /// Look at files for the pdtpd that has started this
    #[command(hide = true)]
    MetadataHelper,
    /// Write what packages ship beside the program: manual pages, completions
    #[command(hide = true)]
    Generate(Generate),
}

#[derive(Debug, Args)]
pub(crate) struct CatalogueArgs {
    /// State directory, as given to `pdtpd serve --state`
    pub(crate) dir: PathBuf,

    /// What to do
    #[arg(value_enum, default_value_t = CatalogueAction::Stats)]
    pub(crate) action: CatalogueAction,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum CatalogueAction {
    /// How many files, bytes and pieces it knows, and what it takes
    Stats,
    /// Whether all of it is sound; exit code 5 if not
    Check,
    /// One line of JSON for each file: path, size, mtime, inode, piece_size, root, pieces
    Export,
}

/// Of `--metadata`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum MetadataSources {
    Off,
    Sidecar,
    Full,
}

const SHORT_EXAMPLE: &str = "Example: pdtpd serve /srv/files        (more with --help)";

const EXAMPLES: &str = "\
Examples:
  Serve a directory on port 6086, to PDTP clients and to browsers alike:
      pdtpd serve /srv/files

  The same under a public name, and without hashing everything again after a restart:
      pdtpd serve /srv/files --name files.example.org --state /var/lib/pdtpd

  Try it out on one machine, on any free port:
      pdtpd serve . --listen 127.0.0.1:0
      pdtp ls pdtp://127.0.0.1:PORT/

  All of it from a file, whose keys are the options without their dashes:
      pdtpd serve --config /etc/pdtpd.toml

      # /etc/pdtpd.toml
      dir = \"/srv/files\"
      listen = [\"[::]:6086\"]
      name = \"files.example.org\"
      state = \"/var/lib/pdtpd\"
      limit-up = \"50M\"
      grace = \"30s\"

  In the file, directories can have rules of their own. They hold for what is below, too;
  for each rule the nearest directory that has it counts:

      [directory.\"/iso\"]
      priority = 10                          # before what has less (0); may be negative
      max-origin-rate = \"5M\"                 # bytes a second this server sends of it; 0: no limit
      max-peers = 100                        # clients downloading at once, others wait; 0: no limit
      policy = \"frugal\"

      [directory.\"/internal\"]
      networks = [\"10.0.0.0/8\", \"fd00::/8\"]  # others are denied, and do not see it
      peers = \"off\"                          # only from here, never from client to client

  The rate and the number are those of all files together that they hold for: with one for \"/\"
  and one for \"/iso\", what is sent of /iso counts for /iso only. Browsers count for
  max-origin-rate, not for max-peers. Who does not answer for 10 seconds, or fetches nothing for
  30, leaves its place to those who wait, and waits as well.

  The paths are as clients see them, not as on the disk. Rules for what is not there are logged at
  the start. If it is there in other letters, or the path is one on the disk, `networks` would
  protect nothing: then it is a mistake.

  How it is doing:
      curl http://127.0.0.1:6086/.pdtp/status
      curl http://127.0.0.1:6086/.pdtp/metrics

Signals:
  SIGTERM, SIGINT   let transfers finish for the time of --grace, then exit; a second one: exit at once

Exit codes:
  0  ended by a signal, in good order
  1  anything not listed here
  2  mistake on the command line or in the configuration file
  3  an address cannot be listened on (port taken, not permitted, not of this machine)
  4  the directory to serve is missing, unreadable or not a directory
  5  the state directory cannot be used";

#[derive(Debug, Args)]
pub(crate) struct ServeArgs {
    /// Directory to serve, with everything below it
    pub(crate) dir: Option<PathBuf>,

    /// Address and port to listen on; repeatable [default: [::]:6086]
    ///
    /// `[::]` takes IPv4 as well. Port 0 takes any free one, and what was taken is printed. Without a port: 6086.
    #[arg(long, value_name = "ADDR:PORT", value_parser = parse_listen)]
    pub(crate) listen: Vec<SocketAddr>,

    /// Host name that the URIs of this server have [default: the name of this machine]
    #[arg(long, value_name = "HOST", value_parser = parse_name)]
    pub(crate) name: Option<String>,

    /// Directory to keep the hashes of files in
    ///
    /// Without it they are in memory only, and all files are hashed again after a restart. It must not lie in the
    /// served directory. Files are small: some 40 bytes for each piece of a file.
    #[arg(long, value_name = "DIR", env = "STATE_DIRECTORY", hide_env_values = true)]
    pub(crate) state: Option<PathBuf>,

    /// TOML file with any of these options; the command line wins
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,

    /// Cut all files into pieces of this size [default: by the size of the file]
    ///
    /// Best a power of two from 16K to 4M; any number from 1K to 4M, for a network of earlier PDTP programs that is
    /// used to it.
    #[arg(long, value_name = "BYTES", value_parser = parse_piece_size)]
    pub(crate) piece_size: Option<PieceSize>,

    /// Most bytes a second that this server sends of pieces; 0 = no limit [default: 0]
    ///
    /// A number, optionally with K, M or G (powers of 1024).
    #[arg(long, value_name = "RATE", value_parser = units::parse_bytes)]
    pub(crate) limit_up: Option<u64>,

    /// What the server's own uplink is used for while clients give to each other [default: fast]
    ///
    /// `fast` uses all of it, whenever somebody needs something. `frugal` sends a byte again only when no client can,
    /// which costs some seconds and saves traffic.
    #[arg(long, value_name = "fast|frugal", value_parser = rules::policy)]
    pub(crate) policy: Option<SendPolicy>,

    /// Serve names that start with a dot, too
    #[arg(long)]
    pub(crate) hidden: bool,

    /// Serve only files that match; repeatable
    ///
    /// `*` any characters but `/`, `**` any at all, `?` one, `[ab]` and `{x,y}` one of several. Without a `/` a pattern
    /// is compared with the name, with one with the whole path below DIR.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,

    /// Do not serve what matches, nor what is below it; repeatable
    ///
    /// A pattern that ends in `/` is for directories only.
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,

    /// Whether symbolic links to what is in DIR are served as what they lead to [default: no]
    ///
    /// Otherwise they are left out. Those that lead out of DIR always are.
    #[arg(long, value_name = "yes|no", value_parser = parse_yes)]
    pub(crate) follow_symlinks: Option<bool>,

    /// Most bytes a second to read for hashing; 0 = no limit [default: 0]
    ///
    /// A number, optionally with K, M or G (powers of 1024).
    #[arg(long, value_name = "RATE", value_parser = units::parse_bytes)]
    pub(crate) hash_rate: Option<u64>,

    /// How many processors hashing may keep busy [default: half of them]
    ///
    /// More is for a first start with a large tree that nobody waits for yet.
    #[arg(long, value_name = "N", value_parser = units::parse_count)]
    pub(crate) hash_threads: Option<usize>,

    /// When a file that is being written counts as complete, if it is not closed: after so long without a write
    /// [default: 2s]
    ///
    /// Where the system does not tell when files are closed (elsewhere than on Linux), this goes for all files.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub(crate) settle: Option<Duration>,

    /// How long a version that was replaced is given to those who are downloading it [default: 1h]
    ///
    /// Whoever asks anew gets the new one at once. A file that is overwritten in place has no old version.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub(crate) old_version_grace: Option<Duration>,

    /// Private key with which to sign every file that has no signature beside it
    ///
    /// Made by `pdtp keygen`. Clients then see that nothing was changed on the way or on a mirror; but who takes this
    /// server over can sign as well. Better have the publisher sign, on another machine: `pdtp sign`.
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_key: Option<PathBuf>,

    /// File whose first line is the passphrase of that key
    #[arg(long, value_name = "FILE")]
    pub(crate) sign_passphrase_file: Option<PathBuf>,

    /// Where titles, authors and the like come from that rich listings have [default: full]
    ///
    /// off: nowhere. sidecar: from files NAME.dc.xml with Dublin Core, and from extended attributes
    /// (user.dublincore.*, user.xdg.*, user.mime_type). full: also from tags in the files themselves (sound, films,
    /// pictures, EPUB), which a process of its own reads. See docs/rdl.md.
    #[arg(long, value_enum, value_name = "SOURCES")]
    pub(crate) metadata: Option<MetadataSources>,

    /// Greeting that clients show to their users
    #[arg(long, value_name = "TEXT")]
    pub(crate) notice: Option<String>,

    /// How long to let transfers finish at the end [default: 10s]
    ///
    /// Seconds, or a number with ms, s, m or h.
    #[arg(long, value_name = "TIME", value_parser = units::parse_duration)]
    pub(crate) grace: Option<Duration>,

    /// Print one line of JSON instead of text
    #[arg(long)]
    pub(crate) json: bool,

    /// Log more, to standard error; -vv and -vvv even more
    #[arg(short, long, action = ArgAction::Count)]
    pub(crate) verbose: u8,

    /// Log errors only
    #[arg(short, long, conflicts_with = "verbose")]
    pub(crate) quiet: bool,
}

/// What is to be done, all sources considered.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) dir: PathBuf,
    pub(crate) listen: Option<Vec<SocketAddr>>,
    pub(crate) name: Option<String>,
    pub(crate) state: Option<PathBuf>,
    pub(crate) piece_size: Option<PieceSize>,
    pub(crate) limit_up: Option<u64>,
    pub(crate) policy: SendPolicy,
    pub(crate) directories: Directories,
    pub(crate) hidden: bool,
    pub(crate) globs: Globs,
    pub(crate) follow_symlinks: bool,
    pub(crate) hash_rate: u64,
    /// 0: half of the processors.
    pub(crate) hash_threads: usize,
    pub(crate) settle: Option<Duration>,
    pub(crate) old_version_grace: Option<Duration>,
    pub(crate) sign_key: Option<PathBuf>,
    pub(crate) sign_passphrase_file: Option<PathBuf>,
    pub(crate) metadata: MetadataSources,
    pub(crate) notice: Option<String>,
    pub(crate) grace: Option<Duration>,
    pub(crate) json: bool,
    pub(crate) log_level: &'static str,
}

impl Settings {
    /// Reads the configuration file, if there is one, and lets the command line win.
    pub(crate) fn resolve(args: ServeArgs) -> Result<Self, Failure> {
        let file = match &args.config {
            Some(path) => File::read(path)?,
            None => File::default(),
        };
        let dir = args.dir.or(file.dir).ok_or_else(|| {
            Failure::usage("no directory to serve; say which: pdtpd serve DIR (or dir = \"…\" in the file)")
        })?;
        let log_level = match (args.quiet, args.verbose) {
            (true, _) => "error",
            (_, 0) => "warn",
            (_, 1) => "info",
            (_, 2) => "debug",
            _ => "trace",
        };
        Ok(Self {
            dir,
            listen: Some(args.listen).filter(|all| !all.is_empty()).or(file.listen),
            name: args.name.or(file.name),
            state: args.state.or(file.state),
            piece_size: args.piece_size.or(file.piece_size),
            limit_up: args.limit_up.or(file.limit_up),
            policy: args.policy.or(file.policy).unwrap_or_default(),
            directories: file.directories.unwrap_or_default(),
            hidden: args.hidden || file.hidden.unwrap_or(false),
            globs: Globs::new(
                &Some(args.include).filter(|all| !all.is_empty()).or(file.include).unwrap_or_default(),
                &Some(args.exclude).filter(|all| !all.is_empty()).or(file.exclude).unwrap_or_default(),
            )
            .map_err(Failure::usage)?,
            follow_symlinks: args.follow_symlinks.or(file.follow_symlinks).unwrap_or(false),
            hash_rate: args.hash_rate.or(file.hash_rate).unwrap_or(0),
            hash_threads: args.hash_threads.or(file.hash_threads).unwrap_or(0),
            settle: args.settle.or(file.settle),
            old_version_grace: args.old_version_grace.or(file.old_version_grace),
            sign_key: args.sign_key.or(file.sign_key),
            sign_passphrase_file: args.sign_passphrase_file.or(file.sign_passphrase_file),
            metadata: args.metadata.or(file.metadata).unwrap_or(MetadataSources::Full),
            notice: args.notice.or(file.notice),
            grace: args.grace.or(file.grace),
            json: args.json || file.json.unwrap_or(false),
            log_level,
        })
    }
}

/// `ADDR:PORT`, or one of the two.
pub(crate) fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    if let Ok(address) = text.parse() {
        return Ok(address);
    }
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    if let Ok(ip) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(ip, pdtp::wire::DEFAULT_PORT));
    }
    if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse::<u16>() {
        return Ok(SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), port));
    }
    Err("not an address and port, such as 0.0.0.0:6086, [::]:6086 or 127.0.0.1:0".to_owned())
}

/// A host that can stand in a URI.
pub(crate) fn parse_name(text: &str) -> Result<String, String> {
    let host = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    let written = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    match format!("pdtp://{written}/").parse::<pdtp::wire::PdtpUri>() {
        Ok(uri) if uri.host == host => Ok(uri.host),
        _ => Err("not a host name or address (no port, no slash)".to_owned()),
    }
}

fn parse_yes(text: &str) -> Result<bool, String> {
    match text {
        "yes" | "true" => Ok(true),
        "no" | "false" => Ok(false),
        _ => Err("yes or no".to_owned()),
    }
}

pub(crate) fn parse_piece_size(text: &str) -> Result<PieceSize, String> {
    let bytes = units::parse_bytes(text)?;
    u32::try_from(bytes).ok().and_then(PieceSize::any).ok_or_else(|| {
        "a piece size is a power of two from 16K to 4M, or any number from 1K to 4M for earlier programs"
            .to_owned()
    })
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_definition_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn listen_takes_what_people_write() {
        for (text, means) in [
            ("127.0.0.1:0", "127.0.0.1:0"),
            ("[::]:6086", "[::]:6086"),
            ("::1", "[::1]:6086"),
            ("[::1]", "[::1]:6086"),
            ("10.0.0.1", "10.0.0.1:6086"),
            ("7000", "[::]:7000"),
            (":7000", "[::]:7000"),
        ] {
            assert_eq!(parse_listen(text).unwrap().to_string(), means, "{text}");
        }
        for text in ["", "localhost:1", "1.2.3.4:99999", "[::", "70000"] {
            assert!(parse_listen(text).is_err(), "{text}");
        }
    }

    #[test]
    fn names_can_stand_in_a_uri() {
        for text in ["files.example.org", "10.0.0.1", "::1", "[2001:db8::1]"] {
            assert!(parse_name(text).is_ok(), "{text}");
        }
        for text in ["", "a b", "host:80", "host/dir", "x@y", "a#b"] {
            assert!(parse_name(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_option_is_a_key_of_the_file() {
        let command = Cli::command();
        let serve = command.find_subcommand("serve").unwrap();
        for arg in serve.get_arguments() {
            let id = arg.get_id().as_str().replace('_', "-");
            if matches!(id.as_str(), "config" | "verbose" | "quiet" | "help") {
                continue;
            }
            assert!(super::super::file::KEYS.contains(&id.as_str()), "{id}");
        }
    }
}
