package noderestriction

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizerfactory"
	"k8s.io/apiserver/pkg/registry/rest"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
)

// objects is a storage of a few objects by name.
type objects map[string]runtime.Object

func (o objects) Get(_ context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	if obj, ok := o[name]; ok {
		return obj, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{}, name)
}

func (o objects) NewList() runtime.Object { return nil }

func (o objects) List(context.Context, *metainternal.ListOptions) (runtime.Object, error) {
	return nil, nil
}

func (o objects) ConvertToTable(context.Context, runtime.Object, runtime.Object) (*metav1.Table, error) {
	return nil, nil
}

var _ rest.Lister = objects{}

func plugin() *Plugin {
	storages := map[string]objects{
		"pods": {
			"mine": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "mine", UID: "1"}, Spec: corev1.PodSpec{NodeName: "one", ServiceAccountName: "robot", Volumes: []corev1.Volume{
				{Name: "cert", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
					Sources: []corev1.VolumeProjection{{PodCertificate: &corev1.PodCertificateProjection{SignerName: "a.b/c"}}}}}},
				projected(""), projected("vault"),
				{Name: "csi", VolumeSource: corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "driver"}}},
				{Name: "claim", VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}}},
			}}},
			"theirs": &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "theirs", UID: "2"}, Spec: corev1.PodSpec{NodeName: "two"}},
		},
		"csidrivers": {
			"driver": &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "cloud"}}}},
			"disk":   &storagev1.CSIDriver{Spec: storagev1.CSIDriverSpec{TokenRequests: []storagev1.TokenRequest{{Audience: "disks"}}}},
		},
		"persistentvolumeclaims": {"claim": &corev1.PersistentVolumeClaim{Spec: corev1.PersistentVolumeClaimSpec{VolumeName: "volume"}}},
		"persistentvolumes": {"volume": &corev1.PersistentVolume{Spec: corev1.PersistentVolumeSpec{
			PersistentVolumeSource: corev1.PersistentVolumeSource{CSI: &corev1.CSIPersistentVolumeSource{Driver: "disk"}}}}},
		"serviceaccounts": {"robot": &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "robot", UID: "s1"}}},
		"nodes":           {"one": &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "one", UID: "n1"}}},
	}
	return New(func(r schema.GroupResource) (lookup.Storage, bool) {
		s, ok := storages[r.Resource]
		return s, ok
	}, authorizerfactory.NewAlwaysDenyAuthorizer())
}

func projected(audience string) corev1.Volume {
	return corev1.Volume{Name: "token-" + audience, VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Audience: audience}}},
	}}}
}

// TestAudiences has tokens only for those whom the pod's volumes name.
func TestAudiences(t *testing.T) {
	for audience, want := range map[string]bool{"": true, "vault": true, "cloud": true, "disks": true, "elsewhere": false, "two,three": false} {
		request := token("Pod", "mine", "1")
		if audience != "" {
			request.Spec.Audiences = strings.Split(audience, ",")
		}
		err := plugin().Admit(t.Context(), write(admission.Create, "serviceaccounts/token", "default", request, nil), nil)
		if (err == nil) != want {
			t.Errorf("a token for %q: %v", audience, err)
		}
	}
}

// write is a request by node one.
func write(op admission.Operation, path, name string, obj, old runtime.Object) admission.Attributes {
	resource, sub, _ := strings.Cut(path, "/")
	resource, group, _ := strings.Cut(resource, ".")
	node := &user.DefaultInfo{Name: "system:node:one", Groups: []string{"system:nodes"}}
	namespace := "default"
	if resource == "leases" {
		namespace = "kube-node-lease"
	}
	return admission.NewAttributesRecord(obj, old, schema.GroupVersionKind{}, namespace, name,
		schema.GroupVersionResource{Group: group, Version: "v1", Resource: resource}, sub, op, nil, false, node)
}

func mirror(change func(*corev1.Pod)) *corev1.Pod {
	yes := true
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: "static", Annotations: map[string]string{corev1.MirrorPodAnnotationKey: "x"},
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: "one", UID: "n1", Controller: &yes}},
		},
		Spec: corev1.PodSpec{NodeName: "one", Containers: []corev1.Container{{Name: "c"}}},
	}
	if change != nil {
		change(p)
	}
	return p
}

func token(kind, name, uid string) *authenticationv1.TokenRequest {
	return &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name, UID: types.UID(uid)},
	}}
}

// signing asks for a node's certificate; an empty name makes it no request.
func signing(t *testing.T, name string) *certificatesv1.CertificateSigningRequest {
	t.Helper()
	r := &certificatesv1.CertificateSigningRequest{Spec: certificatesv1.CertificateSigningRequestSpec{SignerName: certificatesv1.KubeletServingSignerName}}
	if name == "" {
		return r
	}
	_, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: name}}, key)
	if err != nil {
		t.Fatal(err)
	}
	r.Spec.Request = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})
	return r
}

func podRequest(change func(*certificatesv1.PodCertificateRequestSpec)) *certificatesv1.PodCertificateRequest {
	r := &certificatesv1.PodCertificateRequest{Spec: certificatesv1.PodCertificateRequestSpec{
		SignerName: "a.b/c", PodName: "mine", PodUID: "1", ServiceAccountName: "robot", ServiceAccountUID: "s1", NodeName: "one", NodeUID: "n1",
	}}
	if change != nil {
		change(&r.Spec)
	}
	return r
}

func TestAdmit(t *testing.T) {
	const create, update, remove = admission.Create, admission.Update, admission.Delete
	pod := func(node string, labels map[string]string) *corev1.Pod {
		return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{NodeName: node}}
	}
	node := func(name string, change func(*corev1.Node)) *corev1.Node {
		n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}
		if change != nil {
			change(n)
		}
		return n
	}
	label := func(key string) func(*corev1.Node) {
		return func(n *corev1.Node) { n.Labels = map[string]string{key: "x"} }
	}
	taint := func(n *corev1.Node) { n.Spec.Taints = []corev1.Taint{{Key: "a"}} }
	secret := func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{}}}}
	}
	claim := func(capacity, size string) *corev1.PersistentVolumeClaim {
		c := &corev1.PersistentVolumeClaim{}
		c.Status.Capacity = corev1.ResourceList{"storage": resource.MustParse(capacity)}
		c.Spec.Resources.Requests = corev1.ResourceList{"storage": resource.MustParse(size)}
		return c
	}
	eviction := &policyv1.Eviction{}
	for name, c := range map[string]struct {
		attrs admission.Attributes
		want  string // part of the refusal; empty means allowed
	}{
		"a mirror pod":               {write(create, "pods", "static", mirror(nil), nil), ""},
		"a usual pod":                {write(create, "pods", "p", pod("one", nil), nil), "can only create mirror pods"},
		"a mirror pod elsewhere":     {write(create, "pods", "p", mirror(func(p *corev1.Pod) { p.Spec.NodeName = "two" }), nil), "spec.nodeName set to itself"},
		"a mirror pod without owner": {write(create, "pods", "p", mirror(func(p *corev1.Pod) { p.OwnerReferences = nil }), nil), "with an owner reference set to itself"},
		"a mirror pod of a former node": {write(create, "pods", "p", mirror(func(p *corev1.Pod) { p.OwnerReferences[0].UID = "old" }), nil),
			"node one UID mismatch: expected old got n1"},
		"a mirror pod with a secret":   {write(create, "pods", "p", mirror(secret), nil), "can not create pods that reference secrets"},
		"a mirror pod with an account": {write(create, "pods", "p", mirror(func(p *corev1.Pod) { p.Spec.ServiceAccountName = "a" }), nil), "reference a service account"},
		"delete own pod":               {write(remove, "pods", "mine", nil, nil), ""},
		"delete another's pod":         {write(remove, "pods", "theirs", nil, nil), "can only delete pods with spec.nodeName set to itself"},
		"delete no pod":                {write(remove, "pods", "none", nil, nil), "not found"},
		"change a pod":                 {write(update, "pods", "mine", pod("one", nil), pod("one", nil)), "can only create and delete mirror pods"},
		"status of own pod":            {write(update, "pods/status", "mine", pod("one", nil), pod("one", nil)), ""},
		"status of another's pod":      {write(update, "pods/status", "theirs", pod("two", nil), pod("two", nil)), "can only update pod status for pods with spec.nodeName set to itself"},
		"labels by way of status":      {write(update, "pods/status", "mine", pod("one", map[string]string{"a": "b"}), pod("one", nil)), "cannot update labels through pod status"},
		"evict own pod":                {write(create, "pods/eviction", "mine", eviction, nil), ""},
		"evict another's pod":          {write(create, "pods/eviction", "theirs", eviction, nil), "can only evict pods"},
		"exec":                         {write(create, "pods/exec", "mine", nil, nil), "unexpected pod subresource"},
		"own node":                     {write(create, "nodes", "one", node("one", nil), nil), ""},
		"another node":                 {write(create, "nodes", "two", node("two", nil), nil), `is not allowed to modify node "two"`},
		"own labels":                   {write(create, "nodes", "one", node("one", label("kubernetes.io/arch")), nil), ""},
		"restricted labels":            {write(create, "nodes", "one", node("one", label("x.node-restriction.kubernetes.io/y")), nil), "not allowed to set the following labels"},
		"invented labels":              {write(update, "nodes", "one", node("one", label("a.k8s.io/b")), node("one", nil)), "is not allowed to modify labels: a.k8s.io/b"},
		"foreign labels stay":          {write(update, "nodes", "one", node("one", label("a.k8s.io/b")), node("one", label("a.k8s.io/b"))), ""},
		"taints at birth":              {write(create, "nodes", "one", node("one", taint), nil), ""},
		"taints later":                 {write(update, "nodes", "one", node("one", nil), node("one", taint)), "not allowed to modify taints"},
		"a token for own pod":          {write(create, "serviceaccounts/token", "a", token("Pod", "mine", "1"), nil), ""},
		"a token for another's pod":    {write(create, "serviceaccounts/token", "a", token("Pod", "theirs", "2"), nil), "bound to a pod scheduled on a different node"},
		"a token for a former pod":     {write(create, "serviceaccounts/token", "a", token("Pod", "mine", "0"), nil), "does not match the UID in record"},
		"a token for a secret":         {write(create, "serviceaccounts/token", "a", token("Secret", "s", "1"), nil), "not bound to a pod"},
		"a token without uid":          {write(create, "serviceaccounts/token", "a", token("Pod", "mine", ""), nil), "without a uid"},
		"own lease":                    {write(create, "leases.coordination.k8s.io", "one", &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "one"}}, nil), ""},
		"another's lease":              {write(create, "leases.coordination.k8s.io", "", &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "two"}}, nil), "same name as the requesting node"},
		"another's csi node":           {write(update, "csinodes.storage.k8s.io", "two", &storagev1.CSINode{}, nil), "same name as the requesting node"},
		"capacity of a claim":          {write(update, "persistentvolumeclaims/status", "c", claim("2Gi", "1Gi"), claim("1Gi", "1Gi")), ""},
		"size of a claim":              {write(update, "persistentvolumeclaims/status", "c", claim("1Gi", "2Gi"), claim("1Gi", "1Gi")), "not allowed to update fields other than"},
		"a claim":                      {write(update, "persistentvolumeclaims", "c", claim("1Gi", "1Gi"), claim("1Gi", "1Gi")), "may only update PVC status"},
		"a certificate for itself":     {write(create, "certificatesigningrequests.certificates.k8s.io", "c", signing(t, "system:node:one"), nil), ""},
		"a certificate for another":    {write(create, "certificatesigningrequests.certificates.k8s.io", "c", signing(t, "system:node:two"), nil), "can only create a node CSR with CN=system:node:one"},
		"no request at all":            {write(create, "certificatesigningrequests.certificates.k8s.io", "c", signing(t, ""), nil), "unable to parse csr: PEM block type must be CERTIFICATE REQUEST"},
		"a certificate for own pod":    {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(nil), nil), ""},
		"one for another node": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeName = "two" }), nil),
			`which is not the requesting node "one"`},
		"one for a former node": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.NodeUID = "n0" }), nil),
			`names node UID "n0", inconsistent with the running node ("n1")`},
		"one for another's pod": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.PodName, s.PodUID = "theirs", "2" }), nil),
			`pod "default/theirs" is not running on node "one"`},
		"one for a former pod": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.PodUID = "0" }), nil),
			`contains pod UID ("0") which differs from running pod "1"`},
		"one for another account": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountName = "root" }), nil),
			`contains serviceAccountName ("root") that differs from running pod ("robot")`},
		"one for a former account": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.ServiceAccountUID = "old" }), nil),
			`names service account UID "old"`},
		"one of a signer that nobody means": {write(create, "podcertificaterequests.certificates.k8s.io", "c", podRequest(func(s *certificatesv1.PodCertificateRequestSpec) { s.SignerName = "a.b/d" }), nil),
			`does not mount a podCertificate projected volume for signer "a.b/d"`},
		"to change a pod's request": {write(update, "podcertificaterequests.certificates.k8s.io", "c", podRequest(nil), podRequest(nil)), "unexpected operation UPDATE"},
		"a config map":              {write(create, "configmaps", "c", &corev1.ConfigMap{}, nil), ""},
	} {
		t.Run(name, func(t *testing.T) {
			err := plugin().Admit(context.Background(), c.attrs, nil)
			if c.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
