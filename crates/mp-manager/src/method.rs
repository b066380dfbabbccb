//! Functions of a managed object.

use mp_process::Argument;

/// The way of a method that takes its object as `&mut T`.
#[derive(Debug)]
pub enum ByMut {}

/// The way of a method that takes its object as `&T`.
#[derive(Debug)]
pub enum ByRef {}

/// A function or closure that takes a `&mut T` or a `&T`, and then the arguments `A`, which are a
/// tuple.
///
/// It is implemented for all of them; there is nothing to write. `W` says which of the two it
/// takes: the compiler finds it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no method of `{T}` with the arguments `{A}`",
    label = "does not take `&mut {T}` or `&{T}` and these arguments",
    note = "a method takes the object first, and up to seven arguments, which are given as one tuple of the same types"
)]
pub trait Method<T, A, W>: 'static {
    /// What it returns.
    type Output;

    /// Calls it.
    fn call(self, object: &mut T, arguments: A) -> Self::Output;
}

macro_rules! methods {
    ($(($($argument:ident $value:ident),*);)*) => {$(
        impl<F, T, R, $($argument: Argument),*> Method<T, ($($argument,)*), ByMut> for F
        where
            F: Fn(&mut T, $($argument),*) -> R + 'static,
        {
            type Output = R;

            fn call(self, object: &mut T, ($($value,)*): ($($argument,)*)) -> R {
                self(object, $($value),*)
            }
        }

        impl<F, T, R, $($argument: Argument),*> Method<T, ($($argument,)*), ByRef> for F
        where
            F: Fn(&T, $($argument),*) -> R + 'static,
        {
            type Output = R;

            fn call(self, object: &mut T, ($($value,)*): ($($argument,)*)) -> R {
                self(object, $($value),*)
            }
        }
    )*};
}

methods! {
    ();
    (A1 a1);
    (A1 a1, A2 a2);
    (A1 a1, A2 a2, A3 a3);
    (A1 a1, A2 a2, A3 a3, A4 a4);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6);
    (A1 a1, A2 a2, A3 a3, A4 a4, A5 a5, A6 a6, A7 a7);
}
