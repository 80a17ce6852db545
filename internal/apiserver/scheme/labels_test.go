package scheme

import (
	"testing"

	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Which field selectors a kind takes, as what the storage knows each, and how one
// is refused that it does not take.
func TestFieldLabels(t *testing.T) {
	s, _ := allVersions(t)
	tests := []struct{ group, version, kind, label, want, refused string }{
		{"", "v1", "ConfigMap", "metadata.name", "metadata.name", ""},
		{"", "v1", "ConfigMap", "data", "", `"data" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"", "v1", "Pod", "spec.host", "spec.nodeName", ""},
		{"", "v1", "Pod", "spec.foo", "", "field label not supported: spec.foo"},
		{"", "v1", "Namespace", "status.phase", "status.phase", ""},
		{"", "v1", "Namespace", "name", "", "field label not supported: name"},
		{"", "v1", "Namespace", "metadata.namespace", "", "field label not supported: metadata.namespace"},
		{"", "v1", "PersistentVolume", "metadata.namespace", "metadata.namespace", ""},
		{"", "v1", "PersistentVolume", "name", "", `"name" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"", "v1", "PersistentVolumeClaim", "name", "", `"name" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"", "v1", "ReplicationController", "status.replicas", "status.replicas", ""},
		{"apps", "v1", "ReplicaSet", "status.replicas", "", `"status.replicas" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"batch", "v1", "Job", "status.successful", "status.successful", ""},
		{"batch", "v1", "Job", "status.active", "", `field label "status.active" not supported for Job`},
		{"networking.k8s.io", "v1", "IPAddress", "spec.parentRef.name", "", `"spec.parentRef.name" is not a known field selector: only "metadata.name", "metadata.namespace"`},
		{"certificates.k8s.io", "v1", "PodCertificateRequest", "spec.podName", "spec.podName", ""},
		{"certificates.k8s.io", "v1", "PodCertificateRequest", "metadata.namespace", "", "field label not supported: metadata.namespace"},
		{"resource.k8s.io", "v1", "ResourceSlice", "spec.pool.name", "spec.pool.name", ""},
		{"resource.k8s.io", "v1", "ResourceSlice", "name", "", "field label not supported for resource.k8s.io/v1, Kind=ResourceSlice: name"},
		{"", "v1", "Event", "involvedObject.name", "involvedObject.name", ""},
		{"events.k8s.io", "v1", "Event", "regarding.name", "involvedObject.name", ""},
		{"events.k8s.io", "v1", "Event", "reason", "reason", ""},
		{"events.k8s.io", "v1", "Event", "involvedObject.name", "", "field label not supported: involvedObject.name"},
		{"events.k8s.io", "v1", "Event", "source", "", "field label not supported: source"},
	}
	for _, tt := range tests {
		gvk := schema.GroupVersionKind{Group: tt.group, Version: tt.version, Kind: tt.kind}
		got, _, err := s.ConvertFieldLabel(gvk, tt.label, "x")
		refused := ""
		if err != nil {
			refused = err.Error()
		}
		if got != tt.want || refused != tt.refused {
			t.Errorf("%s of %s: got %q, refused %q", tt.label, gvk, got, refused)
		}
	}
}
