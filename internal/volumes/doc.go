// Package volumes makes the volumes of one node's pods: configMap, secret,
// downwardAPI, projected, emptyDir (on disk or in memory) and hostPath, and the
// paths inside them that containers mount.
//
// Everything of a pod lies under DIR/pods/UID; Setup may be called again at any
// time and brings the content up to date (files change atomically), Remove
// leaves nothing behind, whatever state a crash left. Content from the API comes
// through Source; a missing object that is not optional is an error that names
// it. The package starts no goroutine and watches nothing: when to call Setup
// again is the caller's decision, helped by Setup's answer about tokens.
//
// It never follows a link that a container could have made: paths inside a
// volume are opened component by component.
package volumes
