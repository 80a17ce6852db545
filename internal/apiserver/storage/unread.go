package storage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/etcd3"
)

// unread is no version that the store gives.
const unread = "unread"

// Unread marks the object that the outcome of an update would be read into: the
// caller does not look at it, and it stays as it is.
func Unread(out metav1.Object) { out.SetResourceVersion(unread) }

// answers decodes what was written, except into what nobody reads.
type answers struct{ etcd3.Decoder }

// Decode implements etcd3.Decoder.
func (a answers) Decode(value []byte, into runtime.Object, rev int64) error {
	if m, ok := into.(metav1.Object); ok && m.GetResourceVersion() == unread {
		return nil
	}
	return a.Decoder.Decode(value, into, rev)
}
