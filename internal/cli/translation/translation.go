// Package translation keeps the built-in kubectl from reading its translations where
// nobody will read them. kubectl's packages translate their texts while they are
// initialised, which costs every process of this binary 60 ms and 4 MB; only a process
// that is kubectl needs it.
//
// It is imported for its effect, which is upstream's own way to do this (see
// k8s.io/kubectl/pkg/util/i18n.SetLoadTranslationsFunc). It works because packages are
// initialised in the order of their import paths, and this one needs little.
package translation

import (
	"os"
	"path/filepath"
	"slices"

	"k8s.io/kubectl/pkg/util/i18n"
)

// It is a variable because it must be set while packages are initialised, and it spares
// every role work instead of giving it some.
var _ = leaveOut(os.Args)

func leaveOut(args []string) bool {
	if isKubectl(args) {
		return false
	}
	if err := i18n.SetLoadTranslationsFunc(func() error { return nil }); err != nil {
		panic(err) // this package is not initialised first any more
	}
	return true
}

// isKubectl says whether the texts will be seen: help and errors of kubectl.
func isKubectl(args []string) bool {
	return len(args) > 0 && filepath.Base(args[0]) == "kubectl" || slices.Contains(args, "kubectl") || slices.Contains(args, "logs")
}
