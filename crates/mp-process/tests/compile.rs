//! What does not travel does not compile, and the message says why; what travels builds.
//!
//! The messages are those of one version of the compiler (`TRYBUILD=overwrite` writes them anew).

#[test]
fn only_what_travels_compiles() {
    let cases = trybuild::TestCases::new();
    // A case that builds makes trybuild build the others, too: assertions on generic constants need
    // that.
    cases.pass("tests/compile/builds.rs");
    cases.compile_fail("tests/compile/fails_*.rs");
}
