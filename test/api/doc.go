// Package api holds black-box tests of the API server: what any client sees,
// through client-go and through the real kubectl, whichever code serves it.
package api
