// Package image makes container images from files, and brings images into a
// runtime, lists and removes them.
//
// Build is pure: the same Spec gives the same bytes. Import, List and Remove speak
// to the runtime's socket, in the namespace in which CRI sees images, and keep no
// connection. The package owns the pause image, which holds a pod's namespaces.
package image
