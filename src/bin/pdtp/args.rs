//! What can be written on the command line.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};
use pdtp::client::{self, Config, Error, ErrorKind, LogLevel, OPTIONS, Seeding};
use pdtp::content::trust::Policy;
use pdtp::wire::{ByteRange, Digest, PdtpUri, UrlPath};

use crate::exit::{self, Failure};
use crate::filter::Condition;
use crate::generate::Generate;
use crate::settings;

/// Written as `--timeout 0`, and as `--seed-for forever`.
pub(crate) const FOREVER: Duration = Duration::MAX;

#[derive(Debug, Parser)]
#[command(
    name = "pdtp",
    version,
    about = "List and download what pdtp:// servers offer, together with everybody else who does",
    after_help = after_help(EXAMPLES),
    disable_help_subcommand = true,
    subcommand_required = true,
    arg_required_else_help = true
)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

const EXAMPLES: &str = "\
Examples:
  pdtp ls pdtp://mirror.example.org/                     what is there?
  pdtp get pdtp://mirror.example.org/iso/disk.iso        download a file, or go on with it
  pdtp get -r pdtp://mirror.example.org/photos/ -o pics  a directory and all below it
  pdtp stream --player mpv pdtp://mirror.example.org/film.webm   watch while it comes
  pdtp mirror --delete pdtp://mirror.example.org/pub pub make ./pub like it, again and again
  pdtp watch pdtp://mirror.example.org/                  what changes, as it changes
  pdtp resume                                            go on with what is unfinished here

`pdtp COMMAND --help` tells more about each of them.
";

const GET_EXAMPLES: &str = "\
Examples:
  pdtp get pdtp://host/iso/disk.iso              to ./disk.iso
  pdtp get pdtp://host/iso/disk.iso -o /data/    to /data/disk.iso
  pdtp get pdtp://host/iso/disk.iso -o d.iso     to ./d.iso
  pdtp get -r pdtp://host/photos                 the directory, to ./photos
  pdtp get -r pdtp://host/photos -o pics         the same to ./pics, whether that exists or not
  pdtp get -r pdtp://host/photos -o pics/        the same to ./pics/photos
  pdtp get --seed-for 2h --limit-up 2M URI       go on giving to others for two hours
  pdtp get --json URI | jq .                     for programs
  pdtp get --key alice.key.pub URI               only what Alice has signed
  pdtp get URI#key=FINGERPRINT                   the same, with her key in the link

While a file is incomplete it is called NAME.part. Running the same command
again checks what is there and fetches only the rest, whatever ended the first
run. Nothing reaches NAME whose hash was not verified.

Events of --json, one object a line, each with \"event\" and:
  start      uri, local: what is downloaded to where
  session    state: connecting, ready, lost, refused, closed;
             of lost: message, retry_in
  state      state: queued, deciding, checking, active, paused, verifying
  progress   done, total, from_origin, from_peers, from_disk, wasted, rate,
             eta (or null), givers, files_done, files_total, waiting (a word
             or null: why nothing comes) and waiting_for (the same for people),
             hashing and checking ([done, total] or null: what the server
             hashes first, and what is here), reading (entries that it has
             gone through for the next page of a directory, or null); at most
             two a second
  file_done  path, size: a file of a directory is complete
  verdict    path, status (good, unsigned, unknown_key, rollback, expired,
             key_changed, bad), key, algorithm, signer, since, date, reason,
             accepted: what the signatures of a file are worth
  peer       with -v: peer_id, origin, received, path, first_piece, pieces,
             bytes, ms, reason (a word or null: why the server arranged it)
             and because (the same for people), error
  notice     message: a word from the operator of the server
  done       path, local, root (of a file), size, seconds, rate, from_origin,
             from_peers, from_disk, wasted, uploaded, files, already_complete
  seeding    uploaded, rate: giving after the download; once a second
  stopped    code, message: by Ctrl-C or a signal
  error      kind, code (as below), message
Sizes are bytes, rates bytes a second, times seconds unless named ms. New
events and members may appear; ignore those you do not know.
";

fn after_help(examples: &str) -> String {
    format!("{examples}\n{}", exit::help())
}

fn get_help() -> String {
    let mut text = GET_EXAMPLES.to_owned();
    text.push_str("\nOptions for -O (NAME=VALUE):\n");
    for option in OPTIONS {
        text.push_str(&format!("  {:<16} {}\n", option.name, option.help));
    }
    text.push('\n');
    text.push_str(&exit::help());
    text
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Download a file or, with -r, a directory
    #[command(after_long_help = get_help(), after_help = "More, with examples: pdtp get --help")]
    Get(Get),
    /// List a directory
    #[command(after_help = after_help(LS_EXAMPLES), disable_help_flag = true)]
    Ls(Ls),
    /// Show what is known about files or directories
    #[command(after_help = after_help(STAT_EXAMPLES))]
    Stat(Stat),
    /// Write files to standard output, in order and verified, while they arrive
    #[command(after_help = after_help(CAT_EXAMPLES))]
    Cat(Cat),
    /// Play files while they arrive: for players over HTTP, with jumps, or to standard output
    #[command(after_long_help = after_help(STREAM_EXAMPLES), after_help = "More, with examples: pdtp stream --help")]
    Stream(Stream),
    /// Make a directory like one on the server, fetching only what differs
    #[command(after_long_help = after_help(MIRROR_EXAMPLES), after_help = "More, with examples: pdtp mirror --help")]
    Mirror(Mirror),
    /// Tell what changes on the server, one line an event
    #[command(after_help = after_help(WATCH_EXAMPLES))]
    Watch(Watch),
    /// Go on with what earlier downloads have left unfinished
    #[command(after_help = after_help(RESUME_EXAMPLES))]
    Resume(Resume),
    /// Give local files to others, as what the server has
    #[command(after_help = after_help(SHARE_EXAMPLES))]
    Share(ShareFiles),
    /// Make a key to sign with
    #[command(after_help = after_help(KEYGEN_EXAMPLES))]
    Keygen(Keygen),
    /// Sign files: write NAME.pdtpsig beside each
    #[command(after_help = after_help(SIGN_EXAMPLES))]
    Sign(Sign),
    /// Verify a file on this machine against its NAME.pdtpsig
    #[command(after_help = after_help(VERIFY_EXAMPLES))]
    Verify(Verify),
    /// Print the fingerprint of keys and certificates
    #[command(after_help = after_help(FINGERPRINT_EXAMPLES))]
    Fingerprint(Fingerprint),
    /// Write what packages ship beside the program: a manual page, completions
    #[command(hide = true)]
    Generate(Generate),
}

const KEYGEN_EXAMPLES: &str = "\
Examples:
  pdtp keygen alice.key                    asks for a passphrase; the public key goes to alice.key.pub
  pdtp keygen --type dsa-3072 alice.key    takes up to a minute
  pdtp keygen --no-passphrase build.key    for a machine that signs by itself

Keys are PKCS #8 and SubjectPublicKeyInfo in PEM: `openssl pkey` reads them.
";

const SIGN_EXAMPLES: &str = "\
Examples:
  pdtp sign --key alice.key disk.iso                    for pdtp://HOST/disk.iso
  pdtp sign --key alice.key --prefix /pub disk.iso      for pdtp://HOST/pub/disk.iso
  pdtp sign --key alice.key -r tree --prefix /          all of what `pdtpd serve tree` will serve
  pdtp sign --key alice.key --cert alice-chain.pem F    shows certificates beside the signature

A signature is for one path on the server, so that nobody can serve an old or
another file under a name it was not signed for. No server is needed to sign,
and the private key never needs to be near one. Of a tree, names that begin
with a dot are left out, as the server does.
";

const VERIFY_EXAMPLES: &str = "\
Examples:
  pdtp verify --key alice.key.pub disk.iso          against disk.iso.pdtpsig
  pdtp verify --key root.pem disk.iso other.sig     signed by whom this CA has certified
  pdtp verify disk.iso                              against the keys of the trust file
  pdtp verify --key alice.key.pub -r tree           all of a tree

Without PDTP:
  sed '/^$/,$d' F.pdtpsig > manifest
  sed -n 's/^Signature: [^ ]* //p' F.pdtpsig | base64 -d > sig
  openssl dgst -sha256 -verify alice.key.pub -signature sig manifest   (DSA, ECDSA)
";

const FINGERPRINT_EXAMPLES: &str = "\
Examples:
  pdtp fingerprint alice.key.pub
  pdtp get pdtp://host/disk.iso#key=FINGERPRINT     only if signed with that key
";

const LS_EXAMPLES: &str = "\
Examples:
  pdtp ls pdtp://host/             names, directories with a / behind
  pdtp ls -lh pdtp://host/iso/     with sizes and dates (UTC)
  pdtp ls -R pdtp://host/          everything below, as relative paths
  pdtp ls -ltr pdtp://host/iso/    the newest last; -S the largest first
  pdtp ls --where 'dc.creator~bach' -R pdtp://host/music/
                                   what somebody has made
  pdtp ls --where 'media.height>=1080' --where 'size<2G' pdtp://host/films/
  pdtp ls --where signed=no -R pdtp://host/
  pdtp ls --rdl pdtp://host/       XML with titles, authors, durations, ...
  pdtp ls --json pdtp://host/      one object a line: name, path, type, size,
                                   mtime, root, mime, signed, signed_by, uri;
                                   with --where on dc. or media. also metadata

Control characters in names are written as escapes on a terminal, and as they
are elsewhere.
";

const STAT_EXAMPLES: &str = "\
Examples:
  pdtp stat pdtp://host/disk.iso
  pdtp stat --json pdtp://host/disk.iso | jq -r .uri     a URI pinned to this very version
";

const CAT_EXAMPLES: &str = "\
Examples:
  pdtp cat pdtp://host/film.webm | mpv -
  pdtp cat pdtp://host/part1 pdtp://host/part2 > whole
  pdtp cat pdtp://host/tree.tar | tar x

No byte is written that was not verified. The first failure ends it.
To jump in what you watch, see `pdtp stream`.
";

const STREAM_EXAMPLES: &str = "\
Examples:
  pdtp stream --player mpv pdtp://host/film.webm         watch it; it ends with the player
  pdtp stream --http 8080 pdtp://host/film.webm          http://127.0.0.1:8080/film.webm for
                                                         VLC, ffmpeg, a browser, ..., at once
  pdtp stream --http 0 pdtp://host/series/               each file of a directory; prints the
                                                         URLs, and / is a list for browsers
  pdtp stream --offset -1000 pdtp://host/log             the end of it, to standard output
  pdtp stream --http 0 --json URI | jq .                 for programs

What players ask for comes first, from wherever they are, also when they jump;
what has come is kept in a temporary file until the end. No byte is given to a
player that was not verified. Only this machine is served, unless --http names
another address; then everybody who reaches that address is.

Events of --json, one object a line, each with \"event\" and:
  listening  url: of the gateway
  url        path, url: of each file that is served
  file       path, size, root, mime: was opened
  request    id, path, from, to: bytes that a player asks for
  sent       id, path, bytes, ms, complete: how that ended
  progress   from_origin, from_peers, uploaded, wasted, rate: so far, at most
             once a second
  stopped    from_origin, from_peers, uploaded, wasted: at the end
";

#[derive(Debug, Args)]
pub(crate) struct Stream {
    /// pdtp://host[:port]/path[#root=HEX]; a directory with --http or --player
    pub(crate) uri: PdtpUri,
    /// Serve it over HTTP on this address or port of 127.0.0.1; port 0 = any free one
    #[arg(long, value_name = "[ADDRESS:]PORT", value_parser = http_address)]
    pub(crate) http: Option<SocketAddr>,
    /// Start this player with the URL, and end when it ends; arguments of it after spaces
    #[arg(long, value_name = "COMMAND")]
    pub(crate) player: Option<String>,
    /// Where to begin, in bytes; negative = from the end
    #[arg(long, value_name = "BYTES", default_value_t = 0, allow_negative_numbers = true,
        conflicts_with_all = ["http", "player", "json"])]
    pub(crate) offset: i64,
    /// How much is fetched ahead of a player: 500K, 64M
    #[arg(long, value_name = "BYTES", default_value = "64M", value_parser = bytes)]
    pub(crate) window: u64,
    /// One event a line on standard output, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) signatures: Signatures,
    #[command(flatten)]
    pub(crate) share: Share,
    #[command(flatten)]
    pub(crate) network: Network,
}

const MIRROR_EXAMPLES: &str = "\
Examples:
  pdtp mirror pdtp://host/pub /srv/pub                     what differs in size or date, and only that
  pdtp mirror --delete -n pdtp://host/pub /srv/pub         what would be fetched and removed?
  pdtp mirror --watch --delete pdtp://host/pub /srv/pub    and keep it so, as it changes
  pdtp mirror --seed-for forever pdtp://host/pub /srv/pub  and give it to others from then on
  pdtp mirror --exclude '*.iso' --exclude cache/ URI DIR   without these

A file is compared by size and modification time, with --checksum by hash. Of a
file that differs only the pieces that differ are fetched. It gets its name
when all of it is verified, and the time of the original.

Patterns: * any characters but /, ** any at all, ? one, [ab] {x,y} one of
several. Without a / they are compared with the name, with one with the whole
path below URI; one that ends in / is for directories only. What is below an
excluded directory is excluded, and what is excluded is not deleted.

Events of --json are those of `pdtp get`, and
  file_done  path, size: was fetched, or would be
  removed    path: was removed, or would be
  done       fetched, removed, up_to_date: numbers of files; seconds, rate,
             from_origin, from_peers, from_disk, uploaded, dry_run
";

const RESUME_EXAMPLES: &str = "\
Examples:
  pdtp resume                     all that is unfinished here and below
  pdtp resume --list /data        what would that be there?
  pdtp resume disk.iso            this one (disk.iso.part is meant)

While a file is incomplete, NAME.part.pdtp beside it says where it comes from.
What is there is checked by hash, and the rest is fetched. A failure does not
keep the others from being tried. Files of a directory that were not begun yet
are not known here: `pdtp get -r` fetches them.

Events of --json are those of `pdtp get`; with --list it is an object a line
with local, uri, done and total (bytes).
";

const SHARE_EXAMPLES: &str = "\
Examples:
  pdtp share pdtp://host/iso/disk.iso disk.iso      this file is that one: give it to others
  pdtp share pdtp://host/iso/ *.iso                 the same for several, by their names
  pdtp share --for 8h --limit-up 2M URI FILE        for a night, and not too fast

Each file is read and compared with the hashes of the server before anything of
it is given, and it is not copied. When the server gets another version, it is
not given any more. Ctrl-C ends it.

Events of --json are session, notice, seeding and error of `pdtp get`, and
  share      local, state (checking, offered, failed), message
";

#[derive(Debug, Args)]
pub(crate) struct Resume {
    /// Unfinished files, or directories to look for them in [default: the current one]
    #[arg(value_name = "FILE|DIR")]
    pub(crate) places: Vec<PathBuf>,
    /// Only say what is unfinished
    #[arg(short, long)]
    pub(crate) list: bool,
    /// Go on giving each file to others so long after its end: 90, 30m, 12h, forever
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub(crate) seed_for: Duration,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    pub(crate) quiet: bool,
    /// Show each exchange with others, and why it was arranged
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// One event a line on standard output, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) signatures: Signatures,
    #[command(flatten)]
    pub(crate) share: Share,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct ShareFiles {
    /// What they are on the server: pdtp://host[:port]/path[#root=HEX], or with / at the end the directory they are in
    pub(crate) uri: PdtpUri,
    /// Local files
    #[arg(required = true, value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,
    /// How long: 90, 30m, 12h, forever
    #[arg(long = "for", value_name = "DURATION", default_value = "forever", value_parser = duration)]
    pub(crate) duration: Duration,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with = "json")]
    pub(crate) quiet: bool,
    /// One event a line on standard output, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) share: Share,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Mirror {
    /// pdtp://host[:port]/path
    pub(crate) uri: PdtpUri,
    /// Directory to be made like it
    pub(crate) dir: PathBuf,
    /// Remove what is not on the server
    #[arg(long)]
    pub(crate) delete: bool,
    /// Change nothing, and tell what would be done
    #[arg(short = 'n', long)]
    pub(crate) dry_run: bool,
    /// Compare by hash what has the right size and date, too
    #[arg(short, long)]
    pub(crate) checksum: bool,
    /// Only files that match; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) include: Vec<String>,
    /// Not what matches; repeatable
    #[arg(long, value_name = "PATTERN")]
    pub(crate) exclude: Vec<String>,
    /// Go on, and keep it so as it changes on the server
    #[arg(short, long, conflicts_with = "dry_run")]
    pub(crate) watch: bool,
    /// Go on giving to others so long after the end: 90, 30m, 12h, forever; all of the copy is verified for that
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub(crate) seed_for: Duration,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    pub(crate) quiet: bool,
    /// Name each file that is fetched or removed
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// One event a line on standard output, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) share: Share,
    #[command(flatten)]
    pub(crate) network: Network,
}

const WATCH_EXAMPLES: &str = "\
Examples:
  pdtp watch pdtp://host/incoming/
  pdtp watch --json pdtp://host/ | jq -r 'select(.event == \"file\").uri'

Events, each with \"event\" and, of --json, path and uri:
  watching   from here on changes are told
  file       root, size, mtime: it is new, or another than before
  dir        a new directory; what is in it is told one by one
  removed    it is gone, with all below it
  rescan     more may have changed, at or below it, than was told
It goes on until Ctrl-C.
";

#[derive(Debug, Args)]
pub(crate) struct Watch {
    /// pdtp://host[:port]/path
    pub(crate) uri: PdtpUri,
    /// One object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Get {
    /// pdtp://host[:port]/path[#root=HEX]
    pub(crate) uri: PdtpUri,
    /// Name of the copy; DIR/ = inside that directory, under its own name
    #[arg(short, long, value_name = "FILE|DIR")]
    pub(crate) output: Option<PathBuf>,
    /// A directory, with all below it
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Go on giving to others so long after the end: 90, 30m, 12h, forever; 0 = only let uploads under way finish
    #[arg(long, value_name = "DURATION", default_value = "0", value_parser = duration)]
    pub(crate) seed_for: Duration,
    /// Of a complete file that is there already with other content
    #[arg(long, value_enum, default_value_t = Overwrite::Resume)]
    pub(crate) overwrite: Overwrite,
    /// Accept only the version with this root hash (as #root=HEX in the URI)
    #[arg(long, value_name = "HEX")]
    pub(crate) root: Option<Digest>,
    /// Say nothing but errors
    #[arg(short, long, conflicts_with_all = ["verbose", "json"])]
    pub(crate) quiet: bool,
    /// Show each exchange with others, and why it was arranged
    #[arg(short, long)]
    pub(crate) verbose: bool,
    /// One event a line on standard output, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) signatures: Signatures,
    #[command(flatten)]
    pub(crate) share: Share,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Cat {
    /// pdtp://host[:port]/path[#root=HEX]
    #[arg(required = true)]
    pub(crate) uri: Vec<PdtpUri>,
    /// Only these bytes of each file, the first one being 0: "0-99", or "1000-" for all from there on
    #[arg(long, value_name = "FROM-TO", value_parser = byte_range)]
    pub(crate) range: Option<ByteRange>,
    #[command(flatten)]
    pub(crate) signatures: Signatures,
    #[command(flatten)]
    pub(crate) share: Share,
    #[command(flatten)]
    pub(crate) network: Network,
}

/// Where the passphrase of a key comes from; asked for on the terminal otherwise.
#[derive(Debug, Args)]
pub(crate) struct Passphrase {
    /// File whose first line is the passphrase
    #[arg(long, value_name = "FILE", conflicts_with = "passphrase_fd")]
    pub(crate) passphrase_file: Option<PathBuf>,
    /// Open file descriptor whose first line is the passphrase
    #[arg(long, value_name = "N")]
    pub(crate) passphrase_fd: Option<u32>,
}

#[derive(Debug, Args)]
pub(crate) struct Keygen {
    /// File for the private key; the public one goes to FILE.pub
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// Kind of key
    #[arg(long = "type", value_enum, default_value_t = KeyType::Ed25519)]
    pub(crate) kind: KeyType,
    /// Write the private key unencrypted
    #[arg(long, conflicts_with_all = ["passphrase_file", "passphrase_fd"])]
    pub(crate) no_passphrase: bool,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum KeyType {
    /// Small and fast
    Ed25519,
    /// ECDSA on P-256
    #[value(name = "ecdsa-p256")]
    EcdsaP256,
    /// DSA, 2048/256
    #[value(name = "dsa-2048")]
    Dsa2048,
    /// DSA, 3072/256
    #[value(name = "dsa-3072")]
    Dsa3072,
}

#[derive(Debug, Args)]
pub(crate) struct Sign {
    /// Files, or with -r directories
    #[arg(required = true, value_name = "FILE|DIR")]
    pub(crate) files: Vec<PathBuf>,
    /// Private key
    #[arg(long, value_name = "FILE")]
    pub(crate) key: PathBuf,
    /// Certificates to show: that of the key first, then those of who certified it
    #[arg(long, value_name = "FILE")]
    pub(crate) cert: Option<PathBuf>,
    /// Directory of the server that the files will be in
    #[arg(long, value_name = "PATH", default_value = "/", value_parser = url_path)]
    pub(crate) prefix: UrlPath,
    /// All files below directories; DIR itself is PATH on the server
    #[arg(short, long)]
    pub(crate) recursive: bool,
    /// Replace what is there, signatures of others included
    #[arg(long)]
    pub(crate) force: bool,
    /// Say nothing but errors
    #[arg(short, long)]
    pub(crate) quiet: bool,
    #[command(flatten)]
    pub(crate) passphrase: Passphrase,
}

#[derive(Debug, Args)]
pub(crate) struct Verify {
    /// File, or with -r a directory
    #[arg(value_name = "FILE|DIR")]
    pub(crate) file: PathBuf,
    /// Its signatures, if not in FILE.pdtpsig
    #[arg(conflicts_with = "recursive")]
    pub(crate) signature: Option<PathBuf>,
    /// All files below a directory; each must be signed
    #[arg(short, long, conflicts_with_all = ["path", "json"])]
    pub(crate) recursive: bool,
    /// Public key, or certificate of who may certify; several are alternatives
    #[arg(long, value_name = "PUB|CERT")]
    pub(crate) key: Vec<PathBuf>,
    #[command(flatten)]
    pub(crate) trust: TrustFile,
    /// Accept only what was signed for this path on the server
    #[arg(long, value_name = "PATH", value_parser = url_path)]
    pub(crate) path: Option<UrlPath>,
    /// One object on standard output, for programs
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct TrustFile {
    /// File that says who may sign what [default: pdtp/trust in the configuration directory]
    #[arg(long, value_name = "FILE", help_heading = "Signatures")]
    pub(crate) trust: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct Fingerprint {
    /// Public or private keys, or certificates
    #[arg(required = true, value_name = "KEY|CERT")]
    pub(crate) files: Vec<PathBuf>,
}

impl TrustFile {
    /// The file named, or the usual one; `None` where there is no place for such files.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.trust.clone().or_else(|| settings::directory().map(|dir| dir.join("trust")))
    }
}

#[derive(Debug, Args)]
pub(crate) struct Ls {
    /// pdtp://host[:port]/path
    pub(crate) uri: PdtpUri,
    /// With size, date (UTC), and whether it is signed
    ///
    /// "signed": there are signatures beside it; "server": by the server's own key; "-": neither. What they are worth,
    /// `pdtp stat` and `pdtp verify` tell.
    #[arg(short)]
    pub(crate) long: bool,
    /// Everything below, as relative paths
    #[arg(short = 'R', long)]
    pub(crate) recursive: bool,
    /// Sizes as 1.5 MiB
    #[arg(short = 'h', long)]
    pub(crate) human: bool,
    /// Newest first
    ///
    /// What is sorted (-t, -S, -r) is held in memory until all of it has come: about 300 bytes an entry, and not more than
    /// 4 million. Without these, entries are printed as they come, in the byte order of their paths, and a directory of
    /// any size takes a few megabytes.
    #[arg(short = 't', conflicts_with = "by_size")]
    pub(crate) by_time: bool,
    /// Largest first
    #[arg(short = 'S')]
    pub(crate) by_size: bool,
    /// The other way round
    #[arg(short, long)]
    pub(crate) reverse: bool,
    /// Only what meets this condition; repeatable, then all of them
    ///
    /// KEY=VALUE, or with != (is not), ~ (contains, in any case), <, <=, >, >= in place of the =. Keys: name, type (file,
    /// dir), size, modified (UTC, as 2026-11-24), mime, signed (yes, no, publisher, server), and what the server has been
    /// told or has found out: dc.title, dc.creator, dc.subject, dc.description, dc.publisher, dc.contributor, dc.date,
    /// dc.type, dc.format, dc.identifier, dc.source, dc.language, dc.relation, dc.coverage, dc.rights, media.codec,
    /// media.bitrate (bits a second), media.duration (seconds), media.sample-rate, media.channels, media.width,
    /// media.height.
    #[arg(long = "where", value_name = "CONDITION")]
    pub(crate) conditions: Vec<Condition>,
    /// As one RDL document: XML with Dublin Core and properties of media
    #[arg(long, conflicts_with_all = ["json", "long", "human"])]
    pub(crate) rdl: bool,
    /// One object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
    /// Print help
    #[arg(long, action = clap::ArgAction::Help)]
    help: Option<bool>,
    #[command(flatten)]
    pub(crate) network: Network,
}

#[derive(Debug, Args)]
pub(crate) struct Stat {
    /// pdtp://host[:port]/path
    #[arg(required = true)]
    pub(crate) uri: Vec<PdtpUri>,
    /// One object a line, for programs
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) signatures: Signatures,
    #[command(flatten)]
    pub(crate) network: Network,
}

/// Who must have signed.
#[derive(Debug, Clone, Args)]
pub(crate) struct Signatures {
    /// What to do about signatures [default: ask]
    #[arg(long, value_enum, value_name = "POLICY", help_heading = "Signatures")]
    verify: Option<VerifyPolicy>,
    /// Trust this public key, or whom this certificate certifies; implies --verify require
    #[arg(long, value_name = "PUB|CERT", help_heading = "Signatures")]
    key: Vec<PathBuf>,
    #[command(flatten)]
    trust: TrustFile,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum VerifyPolicy {
    /// Only what is signed by somebody who is trusted
    Require,
    /// Ask on a terminal about unknown and bad signatures; elsewhere refuse them
    Ask,
    /// Say what the signatures are worth, and take everything
    Report,
    /// Do not look at signatures
    Off,
}

impl Signatures {
    /// Sets a configuration up for them. `can_ask`: somebody answers questions.
    pub(crate) fn apply(&self, config: &mut Config, can_ask: bool) -> Result<(), Failure> {
        config.verify = match self.verify {
            // Who names a key does not want to have the file without it.
            None if !self.key.is_empty() => Policy::Require,
            None => config.verify,
            Some(VerifyPolicy::Require) => Policy::Require,
            Some(VerifyPolicy::Ask) => Policy::Ask,
            Some(VerifyPolicy::Report) => Policy::Report,
            Some(VerifyPolicy::Off) => Policy::Off,
        };
        for file in &self.key {
            crate::keys::trust(&mut config.trust, file)?;
        }
        config.trust_store = config.trust_store.take().or_else(|| self.trust.path());
        config.decisions = can_ask;
        Ok(())
    }
}

/// How much of the network the download may take, and what it gives.
#[derive(Debug, Clone, Args)]
pub(crate) struct Share {
    /// Most bytes a second to receive: 500K, 2M; 0 = no limit
    #[arg(long, value_name = "RATE")]
    limit_down: Option<String>,
    /// Most bytes a second to send to others
    #[arg(long, value_name = "RATE")]
    limit_up: Option<String>,
    /// TCP port on which others may fetch from here; 0 = any free one
    #[arg(long, value_name = "N")]
    listen_port: Option<String>,
    /// Give nothing to others
    #[arg(long)]
    no_give: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Network {
    /// How long dialling may take: 500ms, 10 (seconds), 1m
    #[arg(long, value_name = "DURATION", help_heading = "Network")]
    connect_timeout: Option<String>,
    /// Give up when nothing has come for so long (get, cat: 5m; ls, stat: 1m); 0 = never
    #[arg(long, value_name = "DURATION", value_parser = duration, help_heading = "Network")]
    timeout: Option<Duration>,
    /// How to speak to the server: auto, framed, or line for DistribuStream 0.1
    #[arg(long, value_name = "WORD", help_heading = "Network")]
    dialect: Option<String>,
    /// Any option of the library; `pdtp get --help` lists them
    #[arg(short = 'O', value_name = "NAME=VALUE", help_heading = "Network")]
    option: Vec<String>,
    /// Your defaults: options as for -O, as TOML (limit_up = "2M") [default: pdtp/pdtp.toml in the configuration directory]
    #[arg(long, value_name = "FILE", help_heading = "Network")]
    config: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Overwrite {
    /// Leave it alone, and fail
    Never,
    /// Replace it once the download is complete, using what is right of it
    Resume,
    /// Download everything anew
    Replace,
}

impl From<Overwrite> for client::Overwrite {
    fn from(overwrite: Overwrite) -> Self {
        match overwrite {
            Overwrite::Never => Self::Never,
            Overwrite::Resume => Self::Resume,
            Overwrite::Replace => Self::Replace,
        }
    }
}

impl Network {
    /// How long to wait while nothing comes; `None` = for ever.
    pub(crate) fn patience(&self, default: Duration) -> Option<Duration> {
        match self.timeout {
            None => Some(default),
            Some(Duration::ZERO | FOREVER) => None,
            given => given,
        }
    }
}

/// The configuration that the user's own file and the arguments ask for. Options by name come last, so that they win.
pub(crate) fn config(network: &Network, share: Option<&Share>, seeding: Seeding) -> Result<Config, Error> {
    let mut config =
        Config { agent: concat!("pdtp/", env!("CARGO_PKG_VERSION")).to_owned(), ..Config::default() };
    settings::apply(&mut config, network.config.as_deref())?;
    // Who never wants to give anything does not with this command either; else it knows better.
    if share.is_none() || config.seeding != Seeding::Off {
        config.seeding = seeding;
    }
    let mut set = |name: &str, value: &Option<String>| match value {
        Some(value) => config.set(name, value),
        None => Ok(()),
    };
    set("connect_timeout", &network.connect_timeout)?;
    set("dialect", &network.dialect)?;
    if let Some(share) = share {
        set("limit_down", &share.limit_down)?;
        set("limit_up", &share.limit_up)?;
        set("listen_port", &share.listen_port)?;
        if share.no_give {
            config.seeding = Seeding::Off;
        }
    }
    for option in &network.option {
        let Some((name, value)) = option.split_once('=') else {
            return Err(Error::new(ErrorKind::Option, format!("-O {option}: it takes NAME=VALUE")));
        };
        config.set(name.trim(), value.trim())?;
    }
    if config.log_level != LogLevel::Off {
        crate::log_library(config.log_level);
    }
    Ok(config)
}

/// `8080`, `127.0.0.1:8080`, `[::1]:0`, `localhost:80`.
fn http_address(text: &str) -> Result<SocketAddr, String> {
    let complain = || "it takes a port, or an address and a port: 8080, 127.0.0.1:8080, [::1]:0".to_owned();
    if let Ok(port) = text.parse() {
        return Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    }
    match text.rsplit_once(':') {
        Some((host, port)) if host.eq_ignore_ascii_case("localhost") => {
            Ok(SocketAddr::from((Ipv4Addr::LOCALHOST, port.parse().map_err(|_| complain())?)))
        }
        _ => text.parse().map_err(|_| complain()),
    }
}

/// `500`, `500K`, `2M`, `1G`.
fn bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(char, u32); 4] = [('K', 10), ('M', 20), ('G', 30), ('T', 40)];
    let unit = text
        .chars()
        .last()
        .and_then(|last| UNITS.into_iter().find(|(name, _)| name.eq_ignore_ascii_case(&last)));
    let (digits, shift) = unit.map_or((text, 0), |(_, shift)| (&text[..text.len() - 1], shift));
    let number = digits.parse::<u64>().ok().and_then(|number| number.checked_mul(1 << shift));
    number.ok_or_else(|| "it takes bytes, or a number with K, M or G".to_owned())
}

/// Bytes of a file.
fn byte_range(text: &str) -> Result<ByteRange, String> {
    ByteRange::from_text(text).ok_or_else(|| "it takes FROM-TO or FROM-, in bytes".to_owned())
}

/// A path as in a URI, from the root.
fn url_path(text: &str) -> Result<UrlPath, String> {
    UrlPath::parse(text).map_err(|error| error.to_string())
}

/// `90`, `90s`, `1.5h`, `forever`.
fn duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 6] =
        [("ms", 0.001), ("s", 1.0), ("m", 60.0), ("h", 3600.0), ("d", 86_400.0), ("", 1.0)];
    if text == "forever" {
        return Ok(FOREVER);
    }
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| factor);
    number
        .parse::<f64>()
        .ok()
        .zip(factor)
        .and_then(|(number, factor)| Duration::try_from_secs_f64(number * factor).ok())
        .ok_or_else(|| "it takes seconds, a number with ms, s, m, h or d, or `forever`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        use clap::CommandFactory as _;
        Cli::command().debug_assert();
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("0", 0),
            ("90", 90_000),
            ("1.5h", 5_400_000),
            ("20ms", 20),
            ("2d", 172_800_000),
            ("3m", 180_000),
        ] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("forever"), Ok(FOREVER));
        for text in
            ["", "h", "-1", "1w", "1 h", "1e9", "nan", "inf", ".", "1.2.3", "99999999999999999999999d"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_of_the_gateway() {
        for (text, address) in [
            ("8080", "127.0.0.1:8080"),
            ("localhost:0", "127.0.0.1:0"),
            ("[::1]:7", "[::1]:7"),
            ("10.0.0.1:80", "10.0.0.1:80"),
        ] {
            assert_eq!(http_address(text).unwrap().to_string(), address);
        }
        for text in ["", "x", "127.0.0.1", "localhost", "localhost:x", "70000", "example.org:80"] {
            assert!(http_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_of_bytes() {
        for (text, number) in [("0", 0), ("17", 17), ("500K", 512_000), ("2m", 2 << 20), ("3G", 3 << 30)] {
            assert_eq!(bytes(text), Ok(number), "{text}");
        }
        for text in ["", "K", "-1", "1.5M", "99999999T", "7B", "1\u{e4}"] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn every_option_of_the_library_is_in_the_help() {
        let help = get_help();
        assert!(OPTIONS.iter().all(|option| help.contains(option.name)));
    }

    /// What has a flag of its own is the option of that name, with the same words for its values.
    #[test]
    fn flags_of_the_network_are_options_of_the_library() {
        use clap::CommandFactory as _;
        let cli = Cli::command();
        let get = cli.find_subcommand("get").unwrap();
        for flag in ["limit-down", "limit-up", "listen-port", "connect-timeout", "dialect"] {
            assert!(get.get_arguments().any(|arg| arg.get_long() == Some(flag)), "--{flag}");
            assert!(OPTIONS.iter().any(|option| option.name == flag.replace('-', "_")), "{flag}");
            let wrong =
                Cli::try_parse_from(["pdtp", "get", "pdtp://h/x", &format!("--{flag}"), "?"]).unwrap();
            let Command::Get(get) = wrong.command else { unreachable!() };
            let by_flag = config(&get.network, Some(&get.share), Seeding::Off).unwrap_err();
            let by_name = Config::default().set(flag, "?").unwrap_err();
            assert_eq!(by_flag, by_name);
        }
    }

    #[test]
    fn timeout_zero_means_never() {
        let network =
            |timeout| Network { connect_timeout: None, timeout, dialect: None, option: vec![], config: None };
        let minute = Duration::from_secs(60);
        assert_eq!(network(None).patience(minute), Some(minute));
        assert_eq!(network(Some(Duration::ZERO)).patience(minute), None);
        assert_eq!(network(Some(FOREVER)).patience(minute), None);
        assert_eq!(network(Some(Duration::from_secs(1))).patience(minute), Some(Duration::from_secs(1)));
    }
}
