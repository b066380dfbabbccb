//! What shared memory cannot hold does not compile, and the message says what to write.
//!
//! The messages are those of one version of the compiler (`TRYBUILD=overwrite` writes them anew).

#[test]
fn only_plain_data_compiles() {
    let cases = trybuild::TestCases::new();
    // A case that builds makes trybuild build the others, too: assertions on generic constants need
    // that.
    cases.pass("tests/compile/builds.rs");
    cases.compile_fail("tests/compile/fails_*.rs");
}
