// Package statefulset keeps pods that each have a name, a number and storage of
// their own.
//
// It owns the pods that a StatefulSet controls, the claims made from its
// templates and the StatefulSet's status. It promises that no two pods of one
// number exist at a time, and with ordered management that pods come up in
// order, go down in reverse order, and never while one before them is not well.
package statefulset
