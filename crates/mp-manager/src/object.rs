//! A value of the program's own type, at the server: its methods run there.

use std::any::Any;
use std::cell::RefCell;
use std::marker::PhantomData;

use mp_layout::{Error, ErrorKind, Result};
use mp_process::call::{self, Function, Outcome};
use mp_process::{Arguments, Stateless, Task};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::method::Method;
use crate::parcel::Parcel;
use crate::proxy::{Proxy, proxy, unexpected};
use crate::request::{Answer, Call, Operation};

/// What names the server in errors.
const SERVER: &str = "the manager's server";

/// A value of any type of the program that lives in the server of a [`Manager`](crate::Manager),
/// whose methods any number of processes call: what a class that is registered with Python's
/// `BaseManager` is.
///
/// The value never travels, so it needs no trait: it is made at the server by
/// [`object`](crate::ManagerHandle::object), and is used there by functions that take it as their
/// first argument. Only arguments and results travel. A function is named by its place in the
/// program, which the server runs as well, so there is nothing to register.
///
/// Clones are proxies of the same value. As with a [`Dict`](crate::Dict), proxies travel, and the
/// value is dropped when the last one is gone.
///
/// # Threads of the server
///
/// Each value has a thread of its own at the server. Its calls run there one after the other, in
/// the order in which the server gets them, so a method needs no lock. A method may take its time,
/// wait for an event or ask the same manager for another object: other objects are served
/// meanwhile. A call of the object that is just running this method waits for itself, for ever.
///
/// # If a method panics or its process dies
///
/// - A method that panics is [`ErrorKind::Panicked`] for its caller, with the message. The value
///   lives on, as the method left it.
/// - A method that ends the server (`exit`, a stack overflow) ends all objects: every client gets
///   [`ErrorKind::ProcessDied`].
/// - A caller that is killed: the call was carried out or was not, and is not if it still waited
///   for its turn; its result is dropped.
/// - When the manager is shut down, the calls that were made before are carried out and the value
///   is dropped, if that takes no longer than 5 s.
///
/// # Examples
///
/// ```
/// use mp_manager::{Manager, Object};
///
/// struct Account {
///     cents: i64,
/// }
///
/// impl Account {
///     fn new(cents: i64) -> Self {
///         Self { cents }
///     }
///
///     fn withdraw(&mut self, cents: i64) -> Result<(), String> {
///         if cents > self.cents {
///             return Err(format!("there are {} only", self.cents));
///         }
///         self.cents -= cents;
///         Ok(())
///     }
///
///     fn cents(&self) -> i64 {
///         self.cents
///     }
/// }
///
/// fn worker(account: Object<Account>) -> mp_layout::Result<bool> {
///     Ok(account.call(Account::withdraw, (40,))?.is_ok())
/// }
///
/// let manager = Manager::new()?;
/// let account = manager.object(Account::new, (100,))?;
/// let workers = (0..3).map(|_| mp_process::spawn(worker, (account.clone(),)));
/// let mut paid = 0;
/// for worker in workers.collect::<Result<Vec<_>, _>>()? {
///     paid += u32::from(worker.result()??);
/// }
/// assert_eq!((paid, account.call(Account::cents, ())?), (2, 20));
/// # Ok::<(), mp_layout::Error>(())
/// ```
pub struct Object<T> {
    proxy: Proxy,
    types: PhantomData<fn() -> T>,
}

proxy!(Object<T>);

thread_local! {
    /// The value that this thread of the server is for.
    static VALUE: RefCell<Option<Box<dyn Any>>> = const { RefCell::new(None) };
}

impl<T: 'static> Object<T> {
    /// Calls a function with the value at the server, `&mut T` or `&T`, and these arguments.
    ///
    /// The function is a method, a function or a closure without captures, of up to seven arguments
    /// after the value. Arguments and result are what those of a
    /// [`Process`](mp_process::Process) are.
    ///
    /// # Errors
    ///
    /// - [`ErrorKind::Panicked`] if the method panicked.
    /// - [`ErrorKind::ProcessDied`] if the server has ended, [`ErrorKind::Closed`] if the manager
    ///   was shut down.
    /// - [`ErrorKind::Encode`] and [`ErrorKind::Decode`] for what serde cannot write or read,
    ///   [`ErrorKind::InvalidInput`] if that is too long for a message; of a result it is found
    ///   after the call.
    /// - [`ErrorKind::Unsupported`] if the server runs another build of the program, or the
    ///   function is in a shared library.
    /// - [`ErrorKind::WrongType`] if the value at the server is not a `T`.
    /// - [`ErrorKind::TooManyDescriptors`], [`ErrorKind::NotEnoughMemory`], [`ErrorKind::Os`] if
    ///   something is exhausted.
    pub fn call<F, A, W>(&self, method: F, arguments: A) -> Result<F::Output>
    where
        F: Method<T, A, W> + Stateless,
        F::Output: Serialize + DeserializeOwned + 'static,
        A: Arguments,
    {
        let task = move |arguments: A| with_value(|value| method.call(value, arguments));
        let function = Function::of::<_, (A,), _>(task)?;
        match self
            .proxy
            .call(Operation::Call(packed(&function, arguments)?))?
        {
            Answer::Returned(outcome) => outcome_of::<F::Output>(outcome),
            _ => Err(unexpected()),
        }
    }
}

/// The request to make a value of what `make` returns, if `result` says that it is one.
pub(crate) fn making<T, F, A>(
    make: F,
    arguments: A,
    result: impl Fn(F::Output) -> Result<T> + Stateless,
) -> Result<Operation>
where
    T: 'static,
    F: Task<A> + Stateless,
    A: Arguments,
{
    let task = move |arguments: A| -> Result<()> {
        let value = result(make.call(arguments))?;
        VALUE.set(Some(Box::new(value)));
        Ok(())
    };
    let function = Function::of::<_, (A,), _>(task)?;
    packed(&function, arguments).map(Operation::Make)
}

/// Why no value was made.
#[cold]
pub(crate) fn not_made(outcome: Parcel) -> Error {
    match outcome_of::<()>(outcome) {
        Ok(()) => unexpected(),
        Err(error) => error,
    }
}

/// Whether this thread has made its value.
pub(crate) fn has_value() -> bool {
    VALUE.with_borrow(Option::is_some)
}

/// Drops the value of this thread.
pub(crate) fn drop_value() {
    // Outside of the borrow: the drop is the program's.
    let value = VALUE.take();
    drop(value);
}

fn with_value<T: 'static, R>(run: impl FnOnce(&mut T) -> R) -> Result<R> {
    VALUE.with_borrow_mut(|value| {
        let value = value.as_mut().and_then(|value| value.downcast_mut::<T>());
        let value = value.ok_or_else(|| {
            Error::new(ErrorKind::WrongType, "call", "a method of a managed object")
                .with_detail("the object is of another type")
        })?;
        Ok(run(value))
    })
}

/// Arguments travel with all that the proxies among them need: the thread that reads them has no
/// link to the manager.
fn packed<A: Arguments>(function: &Function, arguments: A) -> Result<Call> {
    let (bytes, descriptors) = call::write_arguments(&(arguments,))?;
    Ok(Call {
        function: function.to_bytes(),
        arguments: Parcel::received(bytes, descriptors),
    })
}

fn outcome_of<R: Serialize + DeserializeOwned + 'static>(outcome: Parcel) -> Result<R> {
    let (bytes, descriptors) = outcome.into_parts()?;
    Outcome::from_message(bytes, descriptors).value::<Result<R>, _>(SERVER)?
}
