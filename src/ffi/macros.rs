//! What every exported function does first with its arguments. Each macro leaves the surrounding closure (that of
//! `guard::…`) with an error that names the argument.

/// The data of a handle: `borrow!(session)` is a `&SessionData`.
macro_rules! borrow {
    ($handle:ident) => {
        // SAFETY: the header demands NULL or a pointer to a live handle of this type; what of that can be checked
        // is checked there. The reference does not outlive the call.
        unsafe { $crate::ffi::handle::borrow($handle, stringify!($handle)) }?
    };
}

/// The same for handles that belong to one thread at a time.
macro_rules! borrow_mut {
    ($handle:ident) => {
        // SAFETY: as in `borrow`; the header demands that only one thread at a time uses such a handle.
        unsafe { $crate::ffi::handle::borrow_mut($handle, stringify!($handle)) }?
    };
}

/// Takes a handle back from C. `None` for NULL.
macro_rules! take {
    ($handle:ident) => {
        // SAFETY: the header demands NULL or a pointer to a live handle, which nobody uses from now on.
        unsafe { $crate::ffi::handle::take($handle, stringify!($handle)) }
    };
}

/// An argument for results. It is set to `$empty` at once, so that C never reads what was not written.
macro_rules! out {
    ($out:ident, $empty:expr) => {
        // SAFETY: the header demands NULL or a pointer to a variable of this type.
        match unsafe { $out.as_mut() } {
            Some(out) => {
                *out = $empty;
                out
            }
            None => return Err($crate::ffi::guard::null(stringify!($out))),
        }
    };
}

/// A string argument: UTF-8, ended by NUL.
macro_rules! text {
    ($text:ident) => {
        // SAFETY: the header demands NULL or a string ended by NUL that stays as it is during the call.
        unsafe { $crate::ffi::text::utf8($text, stringify!($text)) }?
    };
}

/// The name of a local file or directory: bytes on Unix, UTF-8 elsewhere.
macro_rules! local_path {
    ($path:ident) => {
        // SAFETY: as in `text`.
        unsafe { $crate::ffi::text::local_path($path, stringify!($path)) }?
    };
}
