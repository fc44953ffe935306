//! The boundary: panics stop here, results become codes, failures are remembered for `pdtp_last_error`.

use std::cell::{Cell, RefCell};
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::client::{Error, ErrorKind, tell_panic};

thread_local! {
    static LAST: RefCell<Option<Error>> = const { RefCell::new(None) };
    static CONTEXT: Cell<Context> = const { Cell::new(Context::Application) };
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// In whose code this thread is, as far as this library knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Context {
    /// Not called by the library.
    Application,
    /// In an event or data callback: what blocks is refused.
    Callback,
    /// In a wake-up callback: everything is refused.
    Wakeup,
    /// In a log callback: everything but `*_free` is refused, lest a line leads to the next.
    Log,
    /// In a `destroy` function: everything but `*_free` is refused.
    Destroy,
}

impl Context {
    pub(super) fn current() -> Self {
        CONTEXT.get()
    }

    /// Calls the application's code. Nesting is fine: a callback may replace itself, which destroys its data.
    pub(super) fn run<T>(self, call: impl FnOnce() -> T) -> T {
        struct Restore(Context);
        impl Drop for Restore {
            fn drop(&mut self) {
                CONTEXT.set(self.0);
            }
        }
        let _restore = Restore(CONTEXT.replace(self));
        call()
    }
}

/// Refuses what would wait for the thread that it is called on.
pub(super) fn may_block() -> Result<(), Error> {
    match Context::current() {
        Context::Application => Ok(()),
        _ => Err(Error::new(ErrorKind::Reentrant, "a blocking function was called from a callback")),
    }
}

/// Refuses handles that live where nothing may be called.
pub(super) fn may_call() -> Result<(), Error> {
    match Context::current() {
        Context::Application | Context::Callback => Ok(()),
        Context::Wakeup => {
            Err(Error::new(ErrorKind::Reentrant, "a wake-up callback may call no function of the library"))
        }
        Context::Log => {
            Err(Error::new(ErrorKind::Reentrant, "a log callback may only call functions named *_free"))
        }
        Context::Destroy => {
            Err(Error::new(ErrorKind::Reentrant, "a destroy function may only call functions named *_free"))
        }
    }
}

/// The argument `name` is NULL and must not be.
pub(super) fn null(name: &str) -> Error {
    Error::new(ErrorKind::Null, format!("argument {name} is NULL"))
}

/// The argument `name` makes no sense.
pub(super) fn argument(name: &str, why: impl std::fmt::Display) -> Error {
    Error::new(ErrorKind::Argument, format!("argument {name}: {why}"))
}

/// Runs the body of a function that answers 0 or an error code.
pub(super) fn code(body: impl FnOnce() -> Result<(), Error>) -> c_int {
    count(|| body().map(|()| 0))
}

/// Runs the body of a function that answers a number from 0, or an error code. What does not fit is the largest.
pub(super) fn count(body: impl FnOnce() -> Result<usize, Error>) -> c_int {
    match catch(body) {
        Ok(n) => c_int::try_from(n).unwrap_or(c_int::MAX),
        Err(error) => fail(error),
    }
}

/// Runs the body of a function that answers bytes or a place in a file, or an error code.
pub(super) fn long(body: impl FnOnce() -> Result<i64, Error>) -> i64 {
    catch(body).unwrap_or_else(|error| i64::from(fail(error)))
}

/// Runs the body of a function whose result has no room for a code: `fallback` stands for all failures.
pub(super) fn value<T>(fallback: T, body: impl FnOnce() -> Result<T, Error>) -> T {
    catch(body).unwrap_or_else(|error| {
        fail(error);
        fallback
    })
}

/// Runs the body of a function that cannot fail.
pub(super) fn quiet(body: impl FnOnce()) {
    value((), || {
        body();
        Ok(())
    });
}

/// Remembers the failure for this thread, and gives its code.
pub(super) fn fail(error: Error) -> c_int {
    let code = super::error::code_of(error.kind);
    LAST.with(|last| *last.borrow_mut() = Some(error));
    code
}

/// Hands the last failure of this thread to `read`.
pub(super) fn last_error<T>(read: impl FnOnce(Option<&Error>) -> T) -> T {
    LAST.with(|last| read(last.borrow().as_ref()))
}

fn catch<T>(body: impl FnOnce() -> Result<T, Error>) -> Result<T, Error> {
    silence_panics();
    // Unwind safety: everything shared is behind locks whose users recover from poisoning or never panic inside.
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        let place = PANIC.take().unwrap_or_default();
        Err(Error::new(ErrorKind::Panic, format!("a bug in libpdtp, please report it: {place}")))
    })
}

/// Replaces the panic hook of this library's copy of the Rust runtime, once: the default one prints, and a library
/// does not. What it would print goes to the log and into the error text.
///
/// Only the functions of the C ABI come here. A Rust program that uses this crate keeps the hook it has.
fn silence_panics() {
    static ONCE: Once = Once::new();
    if cfg!(test) {
        return;
    }
    ONCE.call_once(|| {
        std::panic::set_hook(Box::new(|info| {
            let text = info.to_string();
            tell_panic(&text);
            PANIC.set(Some(text));
        }));
    });
}
