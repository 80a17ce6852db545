// Package conformance keeps the names of Kubernetes' conformance tests (names.txt)
// and compares them with those that our own tests quote. A test quotes the name of
// what it proves in a comment of its own line, directly above the function or the
// subtest:
//
//	// Conformance: [sig-apps] Job should delete a job
//
// Its test fails on a quoted name that does not exist, and says with -v which names
// no test quotes yet. It reads the source tree and changes nothing.
package conformance
