// Package logs reads and rotates what containers write: the files in the
// container runtime's log format below one directory of pods, and the message
// that a container leaves when it ends.
//
// A reader follows a file through rotation without losing or repeating a line
// and ends when its container has ended. Rotation renames a file and asks the
// runtime to reopen it, so that no line is cut. The package never changes a
// line and never follows a link that a container made.
package logs

import (
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"
)

// PodDir is the directory of a pod's logs below root.
func PodDir(root string, pod *corev1.Pod) string {
	return filepath.Join(root, pod.Namespace+"_"+pod.Name+"_"+string(pod.UID))
}

// ContainerPath is the log of a container's attempt, relative to its PodDir.
func ContainerPath(container string, attempt int) string {
	return filepath.Join(container, strconv.Itoa(attempt)+".log")
}
