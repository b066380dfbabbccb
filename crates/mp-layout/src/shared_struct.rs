//! Structures of shared memory, each defined in one list of its fields.

/// Defines a structure of shared memory: from one list of fields come the `#[repr(C)]` structure,
/// its [`Place`], the assertion of its size without hidden padding, and its [`Table`] for
/// `docs/memory-layout.md`.
///
/// It is [bare](crate::Place::IS_BARE) if all its fields are, so that a structure with a lock in it
/// can be placed by `unsafe` code only, without a word about it. A field's meaning stands in its
/// documentation and in the table.
///
/// A field must be a [`Place`]; what else may live in shared memory (an `UnsafeCell` that a lock
/// guards) implements `Place` by hand.
///
/// ```
/// use mp_layout::atomic::{AtomicU32, AtomicU64};
/// use mp_layout::{Place, Region, shared_struct};
///
/// shared_struct! {
///     /// Who came last, and how many came.
///     struct Visitors: 16 bytes {
///         count: AtomicU64 = "how many came",
///         last: AtomicU32 = "number of the last one",
///         reserved: AtomicU32 = "0",
///     }
/// }
///
/// assert_eq!(Visitors::TABLE.fields[1].offset, 8);
/// let mut memory = [0_u64; 2];
/// let visitors: &Visitors = Region::from_exclusive(&mut memory).place(0)?;
/// # let _ = (&visitors.count, &visitors.last, &visitors.reserved);
/// # Ok::<(), mp_layout::Error>(())
/// ```
///
/// Fields between which there would be a gap do not compile:
///
/// ```compile_fail
/// use mp_layout::atomic::{AtomicU32, AtomicU64};
///
/// mp_layout::shared_struct! {
///     struct Gap: 16 bytes {
///         small: AtomicU32 = "",
///         large: AtomicU64 = "",
///     }
/// }
/// ```
///
/// [`Place`]: crate::Place
/// [`Table`]: crate::Table
#[macro_export]
macro_rules! shared_struct {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident $(as $title:literal)?: $size:literal bytes {
            $($field_visibility:vis $field:ident: $type:ty = $meaning:literal,)+
        }
    ) => {
        $(#[$attribute])*
        #[repr(C)]
        $visibility struct $name {
            $(#[doc = $meaning] $field_visibility $field: $type,)+
        }

        $crate::with_real_atomics! {
            const _: () = {
                assert!(::core::mem::size_of::<$name>() == $size, "the size is not the one that is stated");
                let fields = 0 $(+ ::core::mem::size_of::<$type>())+;
                assert!(fields == $size, "there is padding that no field stands for");
                assert!(!::core::mem::needs_drop::<$name>(), "shared memory is not dropped");
            };

            impl $name {
                /// The structure's rows in `docs/memory-layout.md`.
                #[allow(dead_code)]
                pub(crate) const TABLE: $crate::Table = $crate::layout!(
                    $crate::shared_struct!(@title $name $($title)?),
                    $name { $($field: $meaning),+ }
                );
            }
        }

        // SAFETY: `repr(C)`, without padding; every field is a `Place`, so any bytes are a value,
        // which is checked where it is used, and zero is the start; the assertion shows that
        // nothing is dropped.
        unsafe impl $crate::Place for $name {
            const IS_BARE: bool = true $(&& <$type as $crate::Place>::IS_BARE)+;

            fn zeroed() -> Self {
                Self { $($field: <$type as $crate::Place>::zeroed(),)+ }
            }
        }
    };
    (@title $name:ident $title:literal) => { $title };
    (@title $name:ident) => { stringify!($name) };
}

/// Leaves its items out under loom, whose atomics are no bytes; decided here, since a user's crate
/// need not know that cfg.
#[doc(hidden)]
#[cfg(not(loom))]
#[macro_export]
macro_rules! with_real_atomics {
    ($($item:item)*) => { $($item)* };
}

#[doc(hidden)]
#[cfg(loom)]
#[macro_export]
macro_rules! with_real_atomics {
    ($($item:item)*) => {};
}
