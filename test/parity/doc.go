// Parity compares what two API servers answer, one of which is right.
//
//	go run ./test/parity -reference kubernetes.kubeconfig -checked ~/.kube/config
//
// It sends the same generated objects to both, as dry runs: creates of every kind,
// and changes and status writes of objects that it makes in a namespace of its own.
// The objects come from seeds.yaml and from the reference's OpenAPI documents, with
// parts of the one grafted on the other, removed, doubled and scrambled. Whatever
// differs in code, warnings, errors or the resulting object is reported once, with the
// request that shows it. What servers choose freely (names, addresses, times, the
// order of errors) is not compared.
//
// Both servers are ones to try things on: objects of cluster-wide kinds, webhooks and
// policies among them, are stored for a moment. It ends with 1 if anything differs and
// with 2 if it could not compare.
//
// The same seed sends the same requests, so that a mended difference can be tried
// again with -kinds and -seed.
package main
