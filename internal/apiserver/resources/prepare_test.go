package resources

import (
	"context"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/randfill"
)

// The old field takes claims and snapshots alone, and what there is stays.
func TestDataSource(t *testing.T) {
	group, other := "example.com", "elsewhere"
	populator := func() *corev1.TypedLocalObjectReference {
		return &corev1.TypedLocalObjectReference{APIGroup: &group, Kind: "Populator", Name: "p"}
	}
	claim := &corev1.TypedLocalObjectReference{Kind: "PersistentVolumeClaim", Name: "c"}
	for name, tc := range map[string]struct {
		spec corev1.PersistentVolumeClaimSpec
		old  *corev1.PersistentVolumeClaimSpec
		want [2]bool // dataSource and dataSourceRef are there in the end
	}{
		"a claim":                     {corev1.PersistentVolumeClaimSpec{DataSource: claim}, nil, [2]bool{true, true}},
		"another kind":                {corev1.PersistentVolumeClaimSpec{DataSource: populator()}, nil, [2]bool{false, false}},
		"another kind, in the field":  {corev1.PersistentVolumeClaimSpec{DataSourceRef: &corev1.TypedObjectReference{APIGroup: &group, Kind: "Populator", Name: "p"}}, nil, [2]bool{true, true}},
		"another kind, there already": {corev1.PersistentVolumeClaimSpec{DataSource: populator()}, &corev1.PersistentVolumeClaimSpec{DataSource: populator()}, [2]bool{true, true}},
		"in another namespace":        {corev1.PersistentVolumeClaimSpec{DataSourceRef: &corev1.TypedObjectReference{Kind: "PersistentVolumeClaim", Name: "c", Namespace: &other}}, nil, [2]bool{false, false}},
	} {
		dropDataSource(&tc.spec, tc.old)
		normalizeDataSource(&tc.spec)
		if got := [2]bool{tc.spec.DataSource != nil, tc.spec.DataSourceRef != nil}; got != tc.want {
			t.Errorf("%s: got %v, want %v", name, got, tc.want)
		}
	}
}

func TestAppArmorFields(t *testing.T) {
	const prefix = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{prefix + "a": "localhost/p", prefix + "b": "unconfined", prefix + "c": "nonsense", prefix + "d": "runtime/default"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{
			{Name: "a"},
			{Name: "b", SecurityContext: &corev1.SecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeUnconfined}}},
			{Name: "c"},
			{Name: "d"},
		}, SecurityContext: &corev1.PodSecurityContext{AppArmorProfile: &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}}},
	}
	if diff := cmp.Diff([]string{prefix + "a", prefix + "c"}, appArmorFields(p)); diff != "" {
		t.Error(diff)
	}
	name := "p"
	want := &corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeLocalhost, LocalhostProfile: &name}
	if diff := cmp.Diff(want, p.Spec.Containers[0].SecurityContext.AppArmorProfile); diff != "" {
		t.Error(diff)
	}
	if p.Spec.Containers[2].SecurityContext != nil || p.Spec.Containers[3].SecurityContext != nil {
		t.Error("a container got a profile that its pod has, or that is none")
	}
}

// An update is warned of when it changes what is wanted, not when a controller
// only writes.
func TestUpdateWarnings(t *testing.T) {
	s := deploymentStrategy()
	old := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: "d", Generation: 1}}
	now := old.DeepCopy()
	now.Spec.Template.Spec.NodeSelector = map[string]string{"beta.kubernetes.io/os": "linux"}
	if got := s.UpdateWarnings(context.Background(), now, old); got != nil {
		t.Errorf("without a new generation: %q", got)
	}
	now.Generation = 2
	want := []string{`spec.template.spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use "kubernetes.io/os" instead`}
	if diff := cmp.Diff(want, s.UpdateWarnings(context.Background(), now, old)); diff != "" {
		t.Error(diff)
	}
}

// Every writer of a stateful set is told that it never forgets a revision.
func TestStatefulSetWarnings(t *testing.T) {
	s, all := statefulSetStrategy(), int32(-1)
	old := &appsv1.StatefulSet{Spec: appsv1.StatefulSetSpec{RevisionHistoryLimit: &all}}
	want := []string{"spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended"}
	if diff := cmp.Diff(want, s.UpdateWarnings(context.Background(), old.DeepCopy(), old)); diff != "" {
		t.Error(diff)
	}
}

// TestTemplateGeneration counts a daemon set's templates, whatever its writer
// says.
func TestTemplateGeneration(t *testing.T) {
	set := func(image, generation string) *appsv1.DaemonSet {
		d := &appsv1.DaemonSet{}
		d.Spec.Template.Spec.Containers = []corev1.Container{{Name: "c", Image: image}}
		if generation != "" {
			d.Annotations = map[string]string{appsv1.DeprecatedTemplateGeneration: generation}
		}
		return d
	}
	main, status := daemonSetStrategy(), daemonSetStatusStrategy()
	for _, tt := range []struct {
		name    string
		prepare func(d *appsv1.DaemonSet)
		obj     *appsv1.DaemonSet
		want    string
	}{
		{"created", func(d *appsv1.DaemonSet) { main.PrepareForCreate(context.Background(), d) }, set("a", ""), "1"},
		{"created as a later one", func(d *appsv1.DaemonSet) { main.PrepareForCreate(context.Background(), d) }, set("a", "4"), "4"},
		{"another template", func(d *appsv1.DaemonSet) { main.PrepareForUpdate(context.Background(), d, set("a", "3")) }, set("b", "9"), "4"},
		{"the same template", func(d *appsv1.DaemonSet) { main.PrepareForUpdate(context.Background(), d, set("a", "3")) }, set("a", ""), "3"},
		{"status", func(d *appsv1.DaemonSet) { status.PrepareForUpdate(context.Background(), d, set("a", "3")) }, set("b", ""), "3"},
	} {
		tt.prepare(tt.obj)
		if got := tt.obj.Annotations[appsv1.DeprecatedTemplateGeneration]; got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}

// TestAgain: where a row says so, an object may be prepared, defaulted and checked
// twice.
func TestAgain(t *testing.T) {
	fill := randfill.NewWithSeed(1).NilChance(0.5).NumElements(0, 2).MaxDepth(10)
	ctx, said := context.Background(), 0
	for range 200 {
		pod := &corev1.Pod{}
		fill.Fill(pod)
		s := podStrategy()
		if !s.Again(pod) {
			pod.Spec.Affinity, pod.Spec.TopologySpreadConstraints = nil, nil
			if !s.Again(pod) {
				continue
			}
		}
		said++
		s.PrepareForCreate(ctx, pod)
		once := pod.DeepCopy()
		s.Validate(ctx, pod)
		s.PrepareForCreate(ctx, pod)
		if diff := cmp.Diff(once, pod, cmpopts.IgnoreTypes(metav1.Time{})); diff != "" { // a gate's condition has one
			t.Fatalf("prepared twice: (-once, +twice)\n%s", diff)
		}
	}
	if said == 0 {
		t.Error("no pod may be prepared twice")
	}
}
