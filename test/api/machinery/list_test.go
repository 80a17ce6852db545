package machinery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	clientv3 "go.etcd.io/etcd/client/v3"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/metadata"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

const table = "application/json;as=Table;v=v1;g=meta.k8s.io"

// forget makes the store forget what was before the version, and starts the
// server anew, so that it does not know it from its caches either.
func (c *cluster) forget(version string) *cluster {
	c.Helper()
	rev, err := strconv.ParseInt(version, 10, 64)
	c.ok(err)
	_, err = c.server.Store.Client().Compact(c.ctx, rev, clientv3.WithCompactPhysical())
	c.ok(err)
	c.server.Stop()
	s := apitest.StartWith(c.T, apitest.Options{Dir: c.server.Dir, NoSync: true})
	return &cluster{T: c.T, Interface: s.Clientset(), ctx: c.ctx, server: s, dyn: dynamic.NewForConfigOrDie(s.Config), ns: c.ns}
}

// templates makes n pod templates.
func (c *cluster) templates(n int) {
	c.Helper()
	for i := range n {
		t := &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("template-%04d", i)}, Template: template(map[string]string{"a": "b"})}
		try(c.CoreV1().PodTemplates(c.ns).Create(c.ctx, t, metav1.CreateOptions{})).or(c)
	}
}

// Conformance: [sig-api-machinery] Servers with support for API chunking should return chunks of results for list calls
func TestChunks(t *testing.T) {
	c := begin(t)
	const all, chunk = 40, 17
	c.templates(all)
	templates := c.CoreV1().PodTemplates(c.ns)
	opts := metav1.ListOptions{Limit: chunk}
	version, found := "", 0
	for {
		list := try(templates.List(c.ctx, opts)).or(c)
		if version == "" {
			version = list.ResourceVersion
		}
		if list.ResourceVersion != version {
			t.Errorf("a chunk is of version %s, the first was of %s", list.ResourceVersion, version)
		}
		for _, o := range list.Items {
			if want := fmt.Sprintf("template-%04d", found); o.Name != want {
				t.Errorf("got %s, want %s", o.Name, want)
			}
			found++
		}
		if list.Continue == "" {
			break
		}
		if list.RemainingItemCount == nil || int(*list.RemainingItemCount)+found != all {
			t.Errorf("%d found, remaining %v", found, list.RemainingItemCount)
		}
		// What is written meanwhile does not change what the list says.
		_ = templates.Delete(c.ctx, "template-0039", metav1.DeleteOptions{})
		opts.Continue = list.Continue
	}
	if found != all {
		t.Errorf("%d found, want %d", found, all)
	}
	if list := try(templates.List(c.ctx, metav1.ListOptions{})).or(c); len(list.Items) != all-1 || list.Continue != "" || list.RemainingItemCount != nil {
		t.Errorf("the whole list has %d, %q", len(list.Items), list.Continue)
	}
	_, err := templates.List(c.ctx, metav1.ListOptions{Limit: 5, Continue: "nonsense"})
	c.refused(err, apierrors.IsBadRequest, "continue key is not valid")
}

// Conformance: [sig-api-machinery] Servers with support for API chunking should support continue listing from the last key if the original version has been compacted away, though the list is inconsistent [Slow]
func TestChunksAfterCompaction(t *testing.T) {
	t.Parallel()
	c := alone(t, apitest.Options{NoSync: true})
	const all, chunk = 30, 10
	c.templates(all)
	templates := c.CoreV1().PodTemplates(c.ns)
	first := try(templates.List(c.ctx, metav1.ListOptions{Limit: chunk})).or(c)
	gone := try(templates.Create(c.ctx, &corev1.PodTemplate{ObjectMeta: metav1.ObjectMeta{Name: "template-9999"}, Template: template(map[string]string{"a": "b"})}, metav1.CreateOptions{})).or(c)
	c = c.forget(gone.ResourceVersion)
	templates = c.CoreV1().PodTemplates(c.ns)

	_, err := templates.List(c.ctx, metav1.ListOptions{Limit: chunk, Continue: first.Continue})
	c.refused(err, apierrors.IsResourceExpired, "too old")
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().ListMeta.Continue == "" {
		t.Fatalf("no token to go on with inconsistently: %v", err)
	}
	rest := try(templates.List(c.ctx, metav1.ListOptions{Limit: chunk, Continue: status.Status().ListMeta.Continue})).or(c)
	if rest.ResourceVersion == first.ResourceVersion || rest.Items[0].Name != "template-0010" {
		t.Errorf("goes on at version %s with %s", rest.ResourceVersion, rest.Items[0].Name)
	}
	found := len(first.Items) + len(rest.Items)
	for rest.Continue != "" {
		rest = try(templates.List(c.ctx, metav1.ListOptions{Limit: chunk, Continue: rest.Continue})).or(c)
		found += len(rest.Items)
	}
	if found != all+1 {
		t.Errorf("%d found, want the new one too", found)
	}
}

// Conformance: [sig-api-machinery] Servers with support for Table transformation should return a 406 for a backend which does not implement metadata
func TestNoTable(t *testing.T) {
	c := begin(t)
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "list", Resource: "pods", Namespace: c.ns},
	}}
	err := c.AuthorizationV1().RESTClient().Post().Resource("selfsubjectaccessreviews").SetHeader("Accept", table).Body(review).Do(c.ctx).Error()
	status, ok := err.(apierrors.APIStatus)
	if !ok || status.Status().Code != http.StatusNotAcceptable {
		t.Errorf("got %v, want 406", err)
	}
}

func TestTables(t *testing.T) {
	c := begin(t)
	c.templates(3)
	path := "/api/v1/namespaces/" + c.ns + "/podtemplates?limit=2"
	var got metav1.Table
	c.ok(json.Unmarshal([]byte(try(c.get(path, table)).or(c)), &got))
	if got.Kind != "Table" || got.APIVersion != "meta.k8s.io/v1" || len(got.Rows) != 2 || got.Continue == "" {
		t.Fatalf("%s with %d rows, %q to go on with", got.Kind, len(got.Rows), got.Continue)
	}
	if len(got.ColumnDefinitions) < 4 || got.ColumnDefinitions[0].Name != "Name" || got.Rows[0].Cells[0] != "template-0000" {
		t.Errorf("columns %v, first row %v", got.ColumnDefinitions, got.Rows[0].Cells)
	}
	var partial metav1.PartialObjectMetadata
	c.ok(json.Unmarshal(got.Rows[0].Object.Raw, &partial))
	if partial.Kind != "PartialObjectMetadata" || partial.Name != "template-0000" {
		t.Errorf("the row's object is %+v", partial)
	}
	for include, want := range map[string]string{"None": `"object":null`, "Object": `"kind":"PodTemplate"`} {
		if text := try(c.get(path+"&includeObject="+include, table)).or(c); !strings.Contains(text, want) {
			t.Errorf("includeObject=%s: %s", include, text)
		}
	}
}

func TestMetadataOnly(t *testing.T) {
	c := begin(t)
	cm := labelled("one", "a", "0")
	try(c.CoreV1().ConfigMaps(c.ns).Create(c.ctx, cm, metav1.CreateOptions{})).or(c)
	api := metadata.NewForConfigOrDie(c.server.Config).Resource(corev1.SchemeGroupVersion.WithResource("configmaps")).Namespace(c.ns)
	list := try(api.List(c.ctx, metav1.ListOptions{LabelSelector: "watch=a"})).or(c)
	if len(list.Items) != 1 || list.Items[0].Labels["watch"] != "a" {
		t.Fatalf("listed %v", list.Items)
	}
	w := try(api.Watch(c.ctx, metav1.ListOptions{LabelSelector: "watch=a", ResourceVersion: list.ResourceVersion})).or(c)
	defer w.Stop()
	c.ok(api.Delete(c.ctx, "one", metav1.DeleteOptions{}))
	e := c.await("the deletion", w, func(watch.Event) bool { return true })
	if o, ok := e.Object.(*metav1.PartialObjectMetadata); !ok || o.Name != "one" || e.Type != "DELETED" {
		t.Errorf("watched %v", e)
	}
}
