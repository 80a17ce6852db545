// Package images brings a node's container images in and takes them out again.
//
// Ensure decides by the pull policy, the credentials and the back-off of a pod
// whether an image must be pulled, and blocks while it is; equal pulls are one.
// A private image that is already here serves only pods that hold credentials
// it was pulled with, or prove theirs at the registry. Run removes what no
// container uses when the disk fills up, the longest unused first, never an
// image in use and never one that the runtime has pinned.
//
// Credentials never appear in logs, events or files: only their hashes are kept.
package images
