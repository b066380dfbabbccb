//! The function that a process runs, and the values that travel to it and back.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::way_back::{ByValue, HasOutput, Never, WayBack};

/// A value that travels to another process as an argument: any serde type that owns its data, and
/// every shared object of mp.
///
/// It is implemented for all of them; there is nothing to write.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot travel to another process",
    label = "this argument stays in the process that made it",
    note = "an argument is `Serialize + DeserializeOwned + Send`: own the data (`String` for `&str`, `Vec<T>` for `&[T]`) and derive serde's traits",
    note = "`Rc` and pointers mean nothing in another process; share memory by a `Value`, an `Array` or a `Mutex` of mp"
)]
pub trait Argument: Serialize + DeserializeOwned + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + 'static> Argument for T {}

/// A tuple of up to eight [`Argument`]s: `()`, `(a,)`, `(a, b)` and so on.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a tuple of arguments",
    label = "expected a tuple of up to eight arguments",
    note = "write `()` for no argument and `(x,)`, with the comma, for one"
)]
pub trait Arguments: Serialize + DeserializeOwned + Send + 'static {}

/// What a task gives back: any serde type that owns its data, or `!` of a task that never returns.
///
/// It is implemented for all of them; there is nothing to write. `W` is the way it takes: the
/// compiler finds it, and generic code that names this trait for values leaves it out.
///
/// ```
/// use mp_process::{Process, Returned};
///
/// fn started<R: Returned>(mut process: Process<R>) -> mp_layout::Result<Process<R>> {
///     process.start()?;
///     Ok(process)
/// }
///
/// let leaves = Process::new(|| std::process::exit(3), ());
/// let process = started(Process::new(|| 7, ()))?;
/// assert_eq!(process.result()?, 7);
/// # drop(leaves);
/// # Ok::<(), mp_layout::Error>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot come back from another process",
    label = "what the task returns stays in its process",
    note = "a result is `Serialize + DeserializeOwned`: own the data and derive serde's traits; end with `;` to return `()`"
)]
pub trait Returned<W = ByValue>: WayBack<W> + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + 'static> Returned<ByValue> for T {}

#[diagnostic::do_not_recommend]
impl Returned<Never> for <fn() -> ! as HasOutput>::Output {}

/// What another process can run by its address alone: a function, or a closure without captures.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot run in another process, because it captures values of this one",
    label = "captures variables of this process",
    note = "pass them as arguments: `Process::new(|text: String| ..., (text,))`"
)]
pub trait Stateless: Copy + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<F: Copy + Send + 'static> Stateless for F {}

/// A function or closure that takes the arguments `A`, which are a tuple.
///
/// It is implemented for all of them; there is nothing to write.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not take the arguments `{A}`",
    label = "is no function of these arguments",
    note = "a task is a function or a closure of up to eight arguments, which are given as one tuple of the same types"
)]
pub trait Task<A>: 'static {
    /// What it returns.
    type Output;

    /// Calls it.
    fn call(self, arguments: A) -> Self::Output;
}

macro_rules! tuples {
    ($(($($argument:ident $value:ident),*);)*) => {$(
        impl<$($argument: Argument),*> Arguments for ($($argument,)*) {}

        impl<F, R, $($argument),*> Task<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> R + 'static,
        {
            type Output = R;

            fn call(self, ($($value,)*): ($($argument,)*)) -> R {
                self($($value),*)
            }
        }
    )*};
}

tuples! {
    ();
    (A1 a1);
    (A1 a1, A2 a2);
    (A1 a1, A2 a2, A3 a3);
    (A1 a1, A2 a2, A3 a3, A4 a4);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6, A7 a7);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6, A7 a7, A8 a8);
}

/// A type that is a process: its fields are the arguments, its `run` is the task. What a subclass
/// of `Process` is in Python.
///
/// ```
/// use mp_process::{Process, Run};
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Serialize, Deserialize)]
/// struct Squares {
///     upto: u64,
/// }
///
/// impl Run for Squares {
///     type Output = u64;
///
///     fn run(self) -> u64 {
///         (1..=self.upto).map(|n| n * n).sum()
///     }
/// }
///
/// let mut process = Process::from_run(Squares { upto: 3 });
/// process.start()?;
/// assert_eq!(process.result()?, 14);
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub trait Run: Argument {
    /// What the process gives back.
    type Output: Returned;

    /// What the process does.
    fn run(self) -> Self::Output;

    /// The name of the process; `None` for `Process-N`.
    fn name(&self) -> Option<String> {
        None
    }
}
