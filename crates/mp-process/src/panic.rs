//! A panic as data.

use std::any::Any;
use std::backtrace::Backtrace;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;
use std::thread;

use mp_os::robust::tid;

use crate::{current, report};

/// The message, the place and the backtrace of a task's panic.
///
/// ```
/// use mp_process::{Process, Status};
///
/// let mut process = Process::new(|n: u32| assert!(n < 3, "{n} is too many"), (7,));
/// process.start()?;
/// process.join()?;
/// let Status::Panicked(panic) = process.status() else {
///     unreachable!("it panics")
/// };
/// assert_eq!(panic.message(), "7 is too many");
/// assert!(panic.location().is_some_and(|location| location.contains(".rs:")));
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Panic {
    message: String,
    location: Option<String>,
    backtrace: Option<String>,
}

/// This thread's last panic, as the hook stored it.
struct Noted {
    message: String,
    location: Option<String>,
    backtrace: Option<Backtrace>,
}

thread_local! {
    static LAST: RefCell<Option<Noted>> = const { RefCell::new(None) };
}

impl Panic {
    /// The text that was given to `panic!`; a placeholder for any other value.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// File, line and column, as `src/main.rs:3:5`; `None` if the task replaced the panic hook.
    pub fn location(&self) -> Option<&str> {
        self.location.as_deref()
    }

    /// The calls that led there, as text; `None` if the task replaced the panic hook or the
    /// variable `RUST_BACKTRACE` is `0`.
    pub fn backtrace(&self) -> Option<&str> {
        self.backtrace.as_deref()
    }

    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        postcard::to_stdvec(&(&self.message, &self.location, &self.backtrace)).unwrap_or_default()
    }

    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (message, location, backtrace) = postcard::from_bytes(bytes).ok()?;
        Some(Self {
            message,
            location,
            backtrace,
        })
    }

    fn of_payload(payload: &(dyn Any + Send)) -> Self {
        Self {
            message: message_of(payload),
            location: None,
            backtrace: None,
        }
    }
}

impl fmt::Display for Panic {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.location {
            Some(location) => write!(formatter, "panicked at {location}: {}", self.message),
            None => write!(formatter, "panicked: {}", self.message),
        }
    }
}

type Hook = dyn Fn(&PanicHookInfo<'_>) + Send + Sync;

/// Lets every panic be noted, after it was printed: by the hook that code before `main` has set or,
/// in place of std's, with the name of this process. Where a panic aborts the process,
/// `before_abort` is called with it.
pub(crate) fn note_panics(before_abort: fn(Panic)) {
    let previous = take_hook();
    // Taken twice, what comes the second time is std's own.
    let is_stds = is_same(&*previous, &*take_hook());
    set_hook(Box::new(move |info| {
        if !is_stds {
            previous(info);
        }
        let noted = Noted::of(info);
        if is_stds {
            report::say(&noted.report());
        }
        if cfg!(panic = "abort") {
            before_abort(noted.resolve());
        } else {
            LAST.set(Some(noted));
        }
    }));
}

/// Whether both are the same function without captures, as std's own hook is.
fn is_same(one: &Hook, other: &Hook) -> bool {
    // A function that is taken for another one has the same code.
    std::ptr::eq(one, other)
}

/// Runs `task` and returns its value, or its panic.
pub(crate) fn catch<R>(task: impl FnOnce() -> R) -> Result<R, Panic> {
    // Nothing of the task is used after its panic.
    catch_unwind(AssertUnwindSafe(task)).map_err(|payload| {
        let panic = LAST
            .take()
            .map_or_else(|| Panic::of_payload(&*payload), Noted::resolve);
        // The drop of a payload is the program's, and may panic as well. What that has is leaked:
        // its drop could be the next one.
        if let Err(next) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
            std::mem::forget(next);
            LAST.take();
        }
        panic
    })
}

impl Noted {
    fn of(info: &PanicHookInfo<'_>) -> Self {
        let unwanted = std::env::var_os("RUST_BACKTRACE").is_some_and(|value| value == "0");
        Self {
            message: message_of(info.payload()),
            location: info.location().map(ToString::to_string),
            backtrace: (!unwanted).then(Backtrace::force_capture),
        }
    }

    /// What std prints of a panic, with the name of this process.
    fn report(&self) -> String {
        static HINT: Once = Once::new();
        let thread = thread::current();
        // The first thread of a child is not std's `main`, and has no name.
        let thread = match (tid() == std::process::id(), thread.name()) {
            (true, None) => String::new(),
            (_, name) => format!(", thread '{}'", name.unwrap_or("<unnamed>")),
        };
        let location = self.location.as_deref().unwrap_or("an unknown place");
        let mut text = format!(
            "\n{}{thread} panicked at {location}:\n{}\n",
            current::title(),
            self.message
        );
        match &self.backtrace {
            Some(backtrace) if std::env::var_os("RUST_BACKTRACE").is_some() => {
                text.push_str(&format!("stack backtrace:\n{backtrace}"));
            }
            _ => HINT.call_once(|| {
                text.push_str(
                    "note: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
                );
            }),
        }
        text
    }

    /// Looking up the names of the calls takes long, so it is done only for a panic that ends the
    /// task.
    fn resolve(self) -> Panic {
        Panic {
            message: self.message,
            location: self.location,
            backtrace: self.backtrace.map(|backtrace| backtrace.to_string()),
        }
    }
}

fn message_of(payload: &(dyn Any + Send)) -> String {
    payload
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| payload.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "(a value that is not text)".to_owned())
}
