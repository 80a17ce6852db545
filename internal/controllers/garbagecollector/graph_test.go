package garbagecollector

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"
)

var thing = schema.GroupVersionKind{Group: "g", Version: "v1", Kind: "Thing"}

// object is an object named like its uid that has these owners, named likewise.
func object(uid types.UID, owners ...types.UID) *metav1.PartialObjectMetadata {
	obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: string(uid), UID: uid}}
	block := true
	for _, o := range owners {
		obj.OwnerReferences = append(obj.OwnerReferences, metav1.OwnerReference{
			APIVersion: "g/v1", Kind: "Thing", Name: string(o), UID: o, BlockOwnerDeletion: &block,
		})
	}
	return obj
}

func deleting(obj *metav1.PartialObjectMetadata, finalizer string) *metav1.PartialObjectMetadata {
	now := metav1.Now()
	obj.DeletionTimestamp = &now
	obj.Finalizers = []string{finalizer}
	return obj
}

func sorted(uids []types.UID) []types.UID {
	slices.Sort(uids)
	return slices.Compact(uids)
}

func TestGraphWakes(t *testing.T) {
	g := newGraph()
	for _, step := range []struct {
		what string
		got  []types.UID
		want []types.UID
	}{
		{"an object without owner", g.observe(thing, object("a")), nil},
		{"a dependent of one that is known", g.observe(thing, object("b", "a")), nil},
		{"a dependent of one that is not", g.observe(thing, object("c", "x")), []types.UID{"x"}},
		{"another, so that it is looked for again", g.observe(thing, object("d", "x")), []types.UID{"x"}},
		{"the virtual owner is nowhere", g.missing("x"), []types.UID{"c", "d"}},
		{"the virtual owner appears", g.observe(thing, object("x")), nil},
		{"it goes", g.remove("x"), []types.UID{"c", "d"}},
		{"foreground deletion", g.observe(thing, deleting(object("a"), metav1.FinalizerDeleteDependents)), []types.UID{"a", "b"}},
		{"the same again", g.observe(thing, deleting(object("a"), metav1.FinalizerDeleteDependents)), nil},
		{"a dependent that comes too late", g.observe(thing, object("e", "a")), []types.UID{"e"}},
		{"a dependent forgets its owner", g.observe(thing, object("e")), []types.UID{"a"}},
		{"the last dependent goes", g.remove("b"), []types.UID{"a"}},
		{"orphaning", g.observe(thing, deleting(object("o"), metav1.FinalizerOrphanDependents)), []types.UID{"o"}},
	} {
		if d := cmp.Diff(step.want, sorted(step.got)); d != "" {
			t.Errorf("%s: wakes (-want +got)\n%s", step.what, d)
		}
	}
}

func TestGraphKnowsOwners(t *testing.T) {
	g := newGraph()
	g.observe(thing, object("a"))
	g.observe(thing, deleting(object("f"), metav1.FinalizerDeleteDependents))
	g.observe(thing, object("child", "virtual"))
	g.observe(thing, object("gone"))
	g.remove("gone")
	ref := func(uid types.UID) metav1.OwnerReference { return object("", uid).OwnerReferences[0] }
	wrong := ref("a")
	wrong.Name = "another"
	otherKind := ref("gone")
	otherKind.Kind = "Other"
	for _, tt := range []struct {
		what      string
		ref       metav1.OwnerReference
		namespace string
		want      presence
	}{
		{"known", ref("a"), "ns", present},
		{"known in another namespace", ref("a"), "elsewhere", unknown},
		{"known by another name", wrong, "ns", unknown},
		{"leaving", ref("f"), "ns", waiting},
		{"virtual", ref("virtual"), "ns", unknown},
		{"seen to go", ref("gone"), "ns", absent},
		{"another kind went by its uid", otherKind, "ns", unknown},
		{"went in another namespace", ref("gone"), "elsewhere", unknown},
		{"never seen", ref("never"), "ns", unknown},
	} {
		if got := g.find(tt.ref, tt.namespace); got != tt.want {
			t.Errorf("%s: %v, want %v", tt.what, got, tt.want)
		}
	}
}

// Whether what the first names can be found out says nothing of what the second means.
func TestOneUIDByTwoNames(t *testing.T) {
	g := newGraph()
	g.observe(thing, object("a", "x"))
	other := object("b", "x")
	other.OwnerReferences[0].Kind = "Other"
	if d := cmp.Diff([]types.UID{"b", "x"}, sorted(g.observe(thing, other))); d != "" {
		t.Error(d)
	}
}

func TestMisledDependentsAreWokenWhenTheOwnerAppears(t *testing.T) {
	g := newGraph()
	misled := object("c", "x")
	misled.OwnerReferences[0].Name = "another"
	g.observe(thing, misled)
	g.observe(thing, object("d", "x"))
	if d := cmp.Diff([]types.UID{"c"}, g.observe(thing, object("x"))); d != "" {
		t.Error(d)
	}
}

// TestLinksMatchOwners changes a graph at random and compares all links with
// what the objects say.
func TestLinksMatchOwners(t *testing.T) {
	uids := []types.UID{"a", "b", "c", "d", "e"}
	rapid.Check(t, func(t *rapid.T) {
		g := newGraph()
		live := map[types.UID][]types.UID{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			uid := rapid.SampledFrom(uids).Draw(t, "uid")
			if rapid.IntRange(0, 3).Draw(t, "remove") == 0 {
				g.remove(uid)
				delete(live, uid)
				continue
			}
			owners := rapid.SliceOfNDistinct(rapid.SampledFrom(uids), 0, 3, rapid.ID[types.UID]).Draw(t, "owners")
			g.observe(thing, object(uid, owners...))
			live[uid] = owners
		}
		for uid, n := range g.nodes {
			if n.virtual != (live[uid] == nil) && len(live[uid]) > 0 {
				t.Fatalf("%s: virtual %v, owners %v", uid, n.virtual, live[uid])
			}
			for d := range n.dependents {
				if !slices.Contains(live[d], uid) {
					t.Fatalf("%s is linked as a dependent of %s but says %v", d, uid, live[d])
				}
			}
			if n.virtual && len(n.dependents) == 0 {
				t.Fatalf("virtual %s stays without dependents", uid)
			}
		}
	})
}

func TestRecentForgetsTheOldest(t *testing.T) {
	r := newRecent(2)
	for _, uid := range []types.UID{"a", "b", "b", "c"} {
		r.add(identity{uid: uid})
	}
	_, first := r.members["a"]
	if _, last := r.members["c"]; first || !last || len(r.members) != 2 {
		t.Errorf("members %v", r.members)
	}
}

// TestAstray: who refers to an owner in another namespace is told of, whichever of the
// two is seen first; an owner of the cluster may be referred to from everywhere.
func TestAstray(t *testing.T) {
	kind := schema.GroupVersionKind{Version: "v1", Kind: "ConfigMap"}
	object := func(namespace, name string, owners ...string) *metav1.PartialObjectMetadata {
		obj := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name)}}
		for _, owner := range owners {
			obj.OwnerReferences = append(obj.OwnerReferences, metav1.OwnerReference{APIVersion: "v1", Kind: "ConfigMap", Name: owner, UID: types.UID(owner)})
		}
		return obj
	}
	var told []string
	g := newGraph()
	g.astray = func(dependent identity, ref metav1.OwnerReference) {
		told = append(told, dependent.namespace+"/"+dependent.name+" of "+ref.Name)
	}
	for _, obj := range []*metav1.PartialObjectMetadata{
		object("a", "early", "owner"), object("b", "right", "owner"), object("b", "owner"),
		object("a", "late", "owner"), object("", "wide", "owner"), object("a", "ofwide", "wide"),
		object("a", "late", "owner"),
	} {
		g.observe(kind, obj)
	}
	if want := []string{"a/early of owner", "a/late of owner", "/wide of owner"}; !slices.Equal(told, want) {
		t.Errorf("told %v, want %v", told, want)
	}
}
