//! `#[derive(Plain)]`: use it as `mp::Plain` or, with `mp-layout`'s feature `derive`, as
//! `mp_layout::Plain`.
//!
//! A tool of the compiler, below floor 0. It writes `unsafe impl`s, so it says here why they hold,
//! whatever it is used on:
//!
//! - Every field is named with its type in the description, so every field is `Plain`, or the
//!   compiler says which is not. A function that takes the structure apart proves that there is no
//!   other field, should another macro have changed it.
//! - Offsets and sizes come from the compiler, and a constant is evaluated that fails if the
//!   fields' sizes do not add up to the structure's: there is no padding.
//! - A structure takes any bytes (`PlainSlice`) if all its fields do, which is left to the compiler
//!   as a bound.
//! - Of an enum without fields each name and value is listed; a `match` proves that there is no
//!   other.
#![forbid(unsafe_code)]

use proc_macro::TokenStream;
use proc_macro2::TokenStream as Tokens;
use quote::{format_ident, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Data, DataEnum, DataStruct, DeriveInput, Error, Fields, Ident, Result};

/// Implements `Plain`, and `PlainSlice` where every bit pattern is a value; for users of
/// `mp-layout`.
#[proc_macro_derive(Plain)]
pub fn plain(input: TokenStream) -> TokenStream {
    expand(input, quote!(::mp_layout))
}

/// [`Plain`] for users of the facade, who need not name `mp-layout` in their `Cargo.toml`.
#[proc_macro_derive(PlainOfFacade)]
pub fn plain_of_facade(input: TokenStream) -> TokenStream {
    expand(input, quote!(::mp))
}

/// The integers whose values an enum may be written as.
const INTEGERS: [&str; 8] = ["u8", "i8", "u16", "i16", "u32", "i32", "u64", "i64"];

fn expand(input: TokenStream, home: Tokens) -> TokenStream {
    syn::parse(input)
        .and_then(|input: DeriveInput| implement(&input, &home))
        .unwrap_or_else(|error| error.to_compile_error())
        .into()
}

fn implement(input: &DeriveInput, home: &Tokens) -> Result<Tokens> {
    if !input.generics.params.is_empty() {
        return Err(Error::new(
            input.generics.span(),
            "`Plain` is derived for types without parameters: what lies in shared memory has one layout",
        ));
    }
    let body = match &input.data {
        Data::Struct(data) => of_struct(input, data)?,
        Data::Enum(data) => of_enum(input, data)?,
        Data::Union(_) => {
            return Err(Error::new(
                input.ident.span(),
                "a union cannot be `Plain`: nothing says which of its fields is there",
            ));
        }
    };
    Ok(quote! {
        const _: () = {
            use #home::generated as mp_layout_generated;
            #body
        };
    })
}

fn of_struct(input: &DeriveInput, data: &DataStruct) -> Result<Tokens> {
    let name = &input.ident;
    let words = representation(&input.attrs)?;
    if !words
        .iter()
        .any(|word| word == "C" || word == "transparent")
    {
        return Err(Error::new(
            name.span(),
            format!(
                "`{name}` needs a layout that is the same in every program: write `#[repr(C)]` above it"
            ),
        ));
    }
    let members: Vec<_> = data.fields.members().collect();
    let types: Vec<_> = data.fields.iter().map(|field| &field.ty).collect();
    let entries = members.iter().zip(&types).map(|(member, ty)| {
        let text = match member {
            syn::Member::Named(name) => name.to_string(),
            syn::Member::Unnamed(index) => index.index.to_string(),
        };
        let text = text.trim_start_matches("r#");
        // At the type's place, for the compiler's word on a field that is not plain.
        let layout = quote_spanned!(ty.span()=> mp_layout_generated::layout_of::<#ty>());
        quote! {
            mp_layout_generated::field(#text, ::core::mem::offset_of!(#name, #member), #layout)
        }
    });
    let bounds = types
        .iter()
        .map(|ty| quote!(#ty: mp_layout_generated::TakesAnyBytes<'any>));
    let locals: Vec<_> = (0..members.len())
        .map(|index| format_ident!("field_{index}"))
        .collect();
    let padding = format!(
        "`{name}` has padding, bytes that belong to no field: order its fields by size, the largest first, or name these \
         bytes (`unused: [u8; 4]`)"
    );
    Ok(quote! {
        #[automatically_derived]
        unsafe impl mp_layout_generated::Plain for #name {
            const LAYOUT: &'static mp_layout_generated::TypeLayout = &mp_layout_generated::structure::<#name>(
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                &[#(#entries),*],
            );
        }

        #[automatically_derived]
        unsafe impl<'any> mp_layout_generated::PlainSlice for #name where #(#bounds),* {}

        const _: () = ::core::assert!(
            mp_layout_generated::is_filled(mp_layout_generated::layout_of::<#name>()),
            #padding
        );

        #[allow(dead_code)]
        fn has_these_fields(whole: #name) {
            let #name { #(#members: #locals),* } = whole;
            #(let _: #types = #locals;)*
        }
    })
}

fn of_enum(input: &DeriveInput, data: &DataEnum) -> Result<Tokens> {
    let name = &input.ident;
    if let Some(variant) = data
        .variants
        .iter()
        .find(|variant| !matches!(variant.fields, Fields::Unit))
    {
        return Err(Error::new(
            variant.span(),
            "an enum with fields cannot be `Plain`: store a number that says which, and the fields, in a structure",
        ));
    }
    let variants: Vec<&Ident> = data.variants.iter().map(|variant| &variant.ident).collect();
    let words = representation(&input.attrs)?;
    let integer = words
        .iter()
        .find(|word| INTEGERS.iter().any(|integer| word == integer));
    let (Some(integer), false) = (integer, variants.is_empty()) else {
        return Err(Error::new(
            name.span(),
            format!(
                "`{name}` needs a variant, and a size that is the same in every program: write `#[repr(u8)]` above it"
            ),
        ));
    };
    let padding =
        format!("`{name}` is larger than `{integer}`: leave `align` out of its `#[repr]`");
    Ok(quote! {
        #[automatically_derived]
        unsafe impl mp_layout_generated::Plain for #name {
            const LAYOUT: &'static mp_layout_generated::TypeLayout = &mp_layout_generated::enumeration::<#name>(
                mp_layout_generated::layout_of::<#integer>(),
                ::core::concat!(::core::module_path!(), "::", ::core::stringify!(#name)),
                &[#(
                    mp_layout_generated::variant(::core::stringify!(#variants), #name::#variants as #integer as i128)
                ),*],
            );
        }

        const _: () = ::core::assert!(
            mp_layout_generated::is_filled(mp_layout_generated::layout_of::<#name>()),
            #padding
        );

        #[allow(dead_code)]
        fn has_these_variants(one: #name) {
            match one {
                #(#name::#variants)|* => {}
            }
        }
    })
}

/// The words of all `#[repr(...)]`, without the numbers of `align` and `packed`.
fn representation(attributes: &[Attribute]) -> Result<Vec<Ident>> {
    let mut words = Vec::new();
    for attribute in attributes
        .iter()
        .filter(|attribute| attribute.path().is_ident("repr"))
    {
        attribute.parse_nested_meta(|word| {
            if word.input.peek(syn::token::Paren) {
                let number;
                syn::parenthesized!(number in word.input);
                number.parse::<syn::LitInt>()?;
            }
            words.extend(word.path.get_ident().cloned());
            Ok(())
        })?;
    }
    Ok(words)
}
