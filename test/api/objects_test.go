package api

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	appsapply "k8s.io/client-go/applyconfigurations/apps/v1"
	coreapply "k8s.io/client-go/applyconfigurations/core/v1"
	metaapply "k8s.io/client-go/applyconfigurations/meta/v1"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
)

const namespace = "default"

func configMap(name string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"kind": "test"}},
		Data:       map[string]string{"a": "1"},
	}
}

func deployment(name string) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: appsv1.DeploymentSpec{
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			Template: corev1.PodTemplateSpec{
				ObjectMeta: metav1.ObjectMeta{Labels: labels},
				Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "img:1"}}},
			},
		},
	}
}

func TestLifeOfAnObject(t *testing.T) {
	api := apitest.Start(t).Clientset().CoreV1().ConfigMaps(namespace)
	ctx := t.Context()
	made, err := api.Create(ctx, configMap("cm"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if made.UID == "" || made.ResourceVersion == "" || made.CreationTimestamp.IsZero() || made.Namespace != namespace {
		t.Errorf("metadata is not filled in: %+v", made.ObjectMeta)
	}
	if _, err := api.Create(ctx, configMap("cm"), metav1.CreateOptions{}); !apierrors.IsAlreadyExists(err) {
		t.Errorf("second creation: %v, want AlreadyExists", err)
	}

	changed := made.DeepCopy()
	changed.Data["a"] = "2"
	if changed, err = api.Update(ctx, changed, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if changed.ResourceVersion == made.ResourceVersion {
		t.Error("an update kept the resource version")
	}
	if _, err := api.Update(ctx, made, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("update of an old version: %v, want Conflict", err)
	}
	same, err := api.Update(ctx, changed, metav1.UpdateOptions{})
	if err != nil || same.ResourceVersion != changed.ResourceVersion {
		t.Errorf("an update that changes nothing gave version %s, want %s (%v)", same.ResourceVersion, changed.ResourceVersion, err)
	}

	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: "kind=test", FieldSelector: "metadata.name=cm"})
	if err != nil || len(list.Items) != 1 || list.ResourceVersion == "" {
		t.Errorf("list: %d items, version %q, %v", len(list.Items), list.ResourceVersion, err)
	}
	wrong := types.UID("00000000-0000-0000-0000-000000000000")
	err = api.Delete(ctx, "cm", metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &wrong}})
	if !apierrors.IsConflict(err) {
		t.Errorf("deletion of another uid: %v, want Conflict", err)
	}
	if err := api.Delete(ctx, "cm", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Get(ctx, "cm", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("get after deletion: %v, want NotFound", err)
	}
}

func TestPatches(t *testing.T) {
	api := apitest.Start(t).Clientset().AppsV1().Deployments(namespace)
	ctx := t.Context()
	if _, err := api.Create(ctx, deployment("d"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	for _, p := range []struct {
		kind types.PatchType
		body string
		want string // the images, in order
	}{
		// Strategic: containers are merged by their names.
		{types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"b","image":"img:2"}]}}}}`, "img:2 img:1"},
		{types.JSONPatchType, `[{"op":"replace","path":"/spec/template/spec/containers/1/image","value":"img:3"}]`, "img:2 img:3"},
		// Merge: a list is replaced.
		{types.MergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"a","image":"img:4"}]}}}}`, "img:4"},
	} {
		got, err := api.Patch(ctx, "d", p.kind, []byte(p.body), metav1.PatchOptions{})
		if err != nil {
			t.Errorf("%s: %v", p.kind, err)
			continue
		}
		var images []string
		for _, c := range got.Spec.Template.Spec.Containers {
			images = append(images, c.Image)
		}
		if s := strings.Join(images, " "); s != p.want {
			t.Errorf("%s: images are %q, want %q", p.kind, s, p.want)
		}
	}
	_, err := api.Patch(ctx, "d", types.MergePatchType, []byte(`{"spec":{"replicas":-1}}`), metav1.PatchOptions{})
	if !apierrors.IsInvalid(err) {
		t.Errorf("an invalid patch: %v, want Invalid", err)
	}
}

func TestApply(t *testing.T) {
	api := apitest.Start(t).Clientset().AppsV1().Deployments(namespace)
	ctx := t.Context()
	apply := func(manager string, force bool, d *appsapply.DeploymentApplyConfiguration) (*appsv1.Deployment, error) {
		return api.Apply(ctx, d, metav1.ApplyOptions{FieldManager: manager, Force: force})
	}
	container := func(name, image string) *coreapply.ContainerApplyConfiguration {
		return coreapply.Container().WithName(name).WithImage(image)
	}
	template := func(c ...*coreapply.ContainerApplyConfiguration) *appsapply.DeploymentSpecApplyConfiguration {
		return appsapply.DeploymentSpec().WithTemplate(coreapply.PodTemplateSpec().WithSpec(coreapply.PodSpec().WithContainers(c...)))
	}
	app := map[string]string{"app": "d"}
	whole := appsapply.Deployment("d", namespace).WithSpec(template(container("a", "img:1")).WithReplicas(1).
		WithSelector(metaapply.LabelSelector().WithMatchLabels(app)))
	whole.Spec.Template.WithLabels(app)
	if _, err := apply("one", false, whole); err != nil {
		t.Fatal(err)
	}
	// Containers are a map by name: two managers own one each.
	got, err := apply("two", false, appsapply.Deployment("d", namespace).WithSpec(template(container("b", "img:2"))))
	if err != nil {
		t.Fatal(err)
	}
	if n := len(got.Spec.Template.Spec.Containers); n != 2 {
		t.Errorf("there are %d containers, want those of both managers", n)
	}
	three := appsapply.Deployment("d", namespace).WithSpec(appsapply.DeploymentSpec().WithReplicas(3))
	_, err = apply("two", false, three)
	if !apierrors.IsConflict(err) || !strings.Contains(err.Error(), `"one"`) || !strings.Contains(err.Error(), ".spec.replicas") {
		t.Errorf("two managers of one field: %v, want a conflict that names manager and field", err)
	}
	if got, err = apply("two", true, three); err != nil || *got.Spec.Replicas != 3 {
		t.Errorf("forced: %v", err)
	}
	// What a manager no longer names is taken away, when nobody else names it:
	// replicas go back to the default.
	if got, err = apply("two", false, appsapply.Deployment("d", namespace)); err != nil {
		t.Fatal(err)
	}
	if n := len(got.Spec.Template.Spec.Containers); n != 1 || *got.Spec.Replicas != 1 {
		t.Errorf("after giving up: %d containers, %d replicas; want 1 and 1", n, *got.Spec.Replicas)
	}
}

func TestStatusAndScale(t *testing.T) {
	api := apitest.Start(t).Clientset().AppsV1().Deployments(namespace)
	ctx := t.Context()
	d, err := api.Create(ctx, deployment("d"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if d.Generation != 1 {
		t.Errorf("generation is %d, want 1", d.Generation)
	}
	five := int32(5)
	d.Spec.Replicas, d.Status.ObservedGeneration, d.Status.Replicas = &five, 1, 1
	if d, err = api.UpdateStatus(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 1 || d.Status.Replicas != 1 || d.Generation != 1 {
		t.Errorf("a write of the status: spec %d, status %d, generation %d; want 1, 1, 1", *d.Spec.Replicas, d.Status.Replicas, d.Generation)
	}
	d.Spec.Replicas, d.Status.Replicas = &five, 9
	if d, err = api.Update(ctx, d, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if *d.Spec.Replicas != 5 || d.Status.Replicas != 1 || d.Generation != 2 {
		t.Errorf("a write of the spec: spec %d, status %d, generation %d; want 5, 1, 2", *d.Spec.Replicas, d.Status.Replicas, d.Generation)
	}
	scale, err := api.GetScale(ctx, "d", metav1.GetOptions{})
	if err != nil || scale.Spec.Replicas != 5 || scale.Status.Replicas != 1 || scale.Status.Selector != "app=d" {
		t.Fatalf("scale is %+v, %v", scale, err)
	}
	scale.Spec.Replicas = 2
	if _, err := api.UpdateScale(ctx, "d", scale, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if d, err = api.Get(ctx, "d", metav1.GetOptions{}); err != nil || *d.Spec.Replicas != 2 {
		t.Errorf("scaled to %d, want 2 (%v)", *d.Spec.Replicas, err)
	}
	scale.ResourceVersion, scale.UID = "", "another"
	if _, err := api.UpdateScale(ctx, "d", scale, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
		t.Errorf("scaled what is gone: %v", err)
	}
}

func TestDryRunAndGeneratedNames(t *testing.T) {
	api := apitest.Start(t).Clientset().CoreV1().ConfigMaps(namespace)
	ctx := t.Context()
	dry := []string{metav1.DryRunAll}
	if _, err := api.Create(ctx, configMap("dry"), metav1.CreateOptions{DryRun: dry}); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Get(ctx, "dry", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("a dry run created: %v", err)
	}
	generated := configMap("")
	generated.GenerateName = "gen-"
	names := map[string]bool{}
	for range 3 {
		made, err := api.Create(ctx, generated, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		names[made.Name] = true
		if err := api.Delete(ctx, made.Name, metav1.DeleteOptions{DryRun: dry}); err != nil {
			t.Fatal(err)
		}
	}
	list, err := api.List(ctx, metav1.ListOptions{LabelSelector: "kind=test"})
	if err != nil || len(names) != 3 || len(list.Items) != 3 {
		t.Errorf("%d names, %d objects, want 3 of each (%v)", len(names), len(list.Items), err)
	}
}

func TestDeleteCollectionAndPages(t *testing.T) {
	api := apitest.Start(t).Clientset().CoreV1().ConfigMaps(namespace)
	ctx := t.Context()
	for i := range 7 {
		cm := configMap(fmt.Sprintf("cm-%d", i))
		cm.Labels["even"] = fmt.Sprint(i%2 == 0)
		if _, err := api.Create(ctx, cm, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	var seen []string
	options := metav1.ListOptions{Limit: 3, LabelSelector: "kind=test"}
	for {
		page, err := api.List(ctx, options)
		if err != nil {
			t.Fatal(err)
		}
		for _, cm := range page.Items {
			seen = append(seen, cm.Name)
		}
		if options.Continue = page.Continue; options.Continue == "" {
			break
		}
	}
	if len(seen) != 7 {
		t.Errorf("pages hold %v", seen)
	}
	if err := api.DeleteCollection(ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "even=true"}); err != nil {
		t.Fatal(err)
	}
	left, err := api.List(ctx, metav1.ListOptions{LabelSelector: "kind=test"})
	if err != nil || len(left.Items) != 3 {
		t.Errorf("%d are left, want the 3 odd ones (%v)", len(left.Items), err)
	}
}

func TestStrictValidation(t *testing.T) {
	c := apitest.Start(t).Clientset().CoreV1().RESTClient()
	body := `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"x"},"datum":{"a":"b"}}`
	post := func(mode string) error {
		return c.Post().Namespace(namespace).Resource("configmaps").Param("fieldValidation", mode).Param("dryRun", "All").
			SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(t.Context()).Error()
	}
	if err := post("Strict"); err == nil || !strings.Contains(err.Error(), `unknown field "datum"`) {
		t.Errorf("strict: %v, want a refusal that names the field", err)
	}
	for _, mode := range []string{"Warn", "Ignore"} {
		if err := post(mode); err != nil {
			t.Errorf("%s: %v", mode, err)
		}
	}
}

func TestTable(t *testing.T) {
	s := apitest.Start(t)
	c := s.Clientset()
	if _, err := c.AppsV1().Deployments(namespace).Create(t.Context(), deployment("d"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	data, err := c.AppsV1().RESTClient().Get().Namespace(namespace).Resource("deployments").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(data, &table); err != nil {
		t.Fatal(err)
	}
	var columns []string
	for _, c := range table.ColumnDefinitions {
		columns = append(columns, c.Name)
	}
	if got := strings.Join(columns, " "); table.Kind != "Table" || len(table.Rows) != 1 || !strings.HasPrefix(got, "Name Ready Up-to-date Available Age") {
		t.Errorf("%s with %d rows and columns %q", table.Kind, len(table.Rows), got)
	}
}

func TestWatchResumesWithoutLoss(t *testing.T) {
	s := apitest.Start(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	api := s.Clientset().CoreV1().ConfigMaps(namespace)
	first, err := api.Create(ctx, configMap("counter"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	const writes = 200
	go func() {
		cm := first
		for i := range writes {
			cm = cm.DeepCopy()
			cm.Data["n"] = fmt.Sprint(i)
			var err error
			if cm, err = api.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
				return // the reader fails for want of events
			}
		}
	}()
	// The watch is broken off after every few events and resumed where it was.
	version, next := first.ResourceVersion, 0
	for next < writes {
		w, err := api.Watch(ctx, metav1.ListOptions{ResourceVersion: version, FieldSelector: "metadata.name=counter", AllowWatchBookmarks: true})
		if err != nil {
			t.Fatal(err)
		}
		for range 7 {
			var event watch.Event
			select {
			case event = <-w.ResultChan():
			case <-ctx.Done():
				t.Fatalf("no event after write %d", next)
			}
			cm, ok := event.Object.(*corev1.ConfigMap)
			if !ok {
				t.Fatalf("event %s with %T", event.Type, event.Object)
			}
			version = cm.ResourceVersion
			if event.Type == watch.Bookmark {
				continue
			}
			if event.Type != watch.Modified || cm.Data["n"] != fmt.Sprint(next) {
				t.Fatalf("%s of write %s, want Modified of write %d", event.Type, cm.Data["n"], next)
			}
			if next++; next == writes {
				break
			}
		}
		w.Stop()
	}
}

func TestWatchSelectors(t *testing.T) {
	api := apitest.Start(t).Clientset().CoreV1().ConfigMaps(namespace)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	w, err := api.Watch(ctx, metav1.ListOptions{LabelSelector: labels.Set{"on": "yes"}.String()})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	cm, err := api.Create(ctx, configMap("cm"), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	// An object that comes to match is added, one that ceases to is deleted.
	for _, step := range []struct {
		on   string
		want watch.EventType
	}{{"yes", watch.Added}, {"no", watch.Deleted}, {"yes", watch.Added}} {
		cm.Labels["on"] = step.on
		if cm, err = api.Update(ctx, cm, metav1.UpdateOptions{}); err != nil {
			t.Fatal(err)
		}
		select {
		case event := <-w.ResultChan():
			if event.Type != step.want {
				t.Errorf("on=%s gave %s, want %s", step.on, event.Type, step.want)
			}
		case <-ctx.Done():
			t.Fatalf("on=%s gave no event", step.on)
		}
	}
}
