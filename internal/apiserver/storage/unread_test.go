package storage

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/storage/etcd3"
)

// named decodes everything into a pod of that name.
type named struct{ etcd3.Decoder }

func (named) Decode(value []byte, into runtime.Object, _ int64) error {
	into.(*corev1.Pod).Name = string(value)
	return nil
}

func TestUnread(t *testing.T) {
	unread := &corev1.Pod{}
	Unread(unread)
	for _, tc := range []struct {
		into *corev1.Pod
		want string
	}{
		{&corev1.Pod{}, "p"},
		{&corev1.Pod{ObjectMeta: metav1.ObjectMeta{ResourceVersion: "7"}}, "p"},
		{unread, ""},
	} {
		if err := (answers{named{}}).Decode([]byte("p"), tc.into, 8); err != nil || tc.into.Name != tc.want {
			t.Errorf("into version %q: name %q, error %v, want %q", tc.into.ResourceVersion, tc.into.Name, err, tc.want)
		}
	}
}
