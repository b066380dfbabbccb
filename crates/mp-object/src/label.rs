//! What `/proc` calls objects without a name.

use std::cell::RefCell;

use mp_layout::{Error, ErrorKind, Kind, Result};

/// Bytes that the kernel takes as the name of a memory file, less those of `mp:`.
const MOST: usize = 246;

thread_local! {
    static LABEL: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Runs `make`, and lets `/proc` call the objects that it makes without a name `mp:KIND:label`
/// instead of `mp:KIND`.
///
/// It is what `/proc/PID/maps`, the links in `/proc/PID/fd` and this process's errors show; nothing
/// is found by it, and any number of objects may have the same. It holds for this thread until
/// `make` returns; of nested labels the innermost holds. Objects with a name do not need it.
///
/// ```
/// use mp_object::{Event, labelled};
///
/// let ready = labelled("ready", Event::new)?;
/// let maps = std::fs::read_to_string("/proc/self/maps")?;
/// assert!(maps.contains("/memfd:mp:event:ready"));
/// # drop(ready);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// # Errors
///
/// What `make` returns. Making an object in it fails with [`ErrorKind::InvalidInput`] if
/// `mp:KIND:label` is longer than 249 bytes, or if the label contains a NUL.
pub fn labelled<R>(label: &str, make: impl FnOnce() -> R) -> R {
    /// Puts back what was there before, also when `make` panics.
    struct Before(Option<String>);

    impl Drop for Before {
        fn drop(&mut self) {
            LABEL.set(self.0.take());
        }
    }

    let _before = Before(LABEL.replace(Some(label.to_owned())));
    make()
}

/// What an object of this kind is called that is made now.
pub(crate) fn current(kind: Kind) -> Result<String> {
    let kind = kind.to_string();
    let Some(label) = LABEL.with_borrow(Option::clone) else {
        return Ok(kind);
    };
    let shown = format!("{kind}:{label}");
    let refuse = |reason: String| {
        Err(Error::new(ErrorKind::InvalidInput, "create", &kind).with_detail(reason))
    };
    if label.contains('\0') {
        return refuse(format!("the label {label:?} contains a NUL"));
    }
    if shown.len() > MOST {
        let (len, most) = (label.len(), MOST - kind.len() - 1);
        return refuse(format!(
            "the label has {len} bytes, at most {most} are possible"
        ));
    }
    Ok(shown)
}
