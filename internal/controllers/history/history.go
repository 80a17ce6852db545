// Package history keeps the templates that a workload had, as ControllerRevisions
// that kubectl's rollout commands read and go back to.
//
// It owns the ControllerRevisions that its owner controls: it makes one for a
// template that is new, brings one back to the front for a template that
// returns, and drops old ones that no pod uses.
package history

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/rand"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/sinawi/sinawi/internal/controllers/workload"
)

// maxPrefix leaves room for the hash in a revision's name.
const maxPrefix = 223

// Book is the history of one owner.
type Book struct {
	Client client.Client
	Cache  cache.Cache
	Owner  client.Object
	Kind   schema.GroupVersionKind
	// Selector says which loose revisions are the owner's.
	Selector *metav1.LabelSelector
	// HashLabel is the label of a revision that carries its hash.
	HashLabel string
	// Hash names the revision of a template with its data. It depends on the
	// owner's status.collisionCount.
	Hash func(template *corev1.PodTemplateSpec, data []byte) string
}

// Data is what a revision keeps of a template: a patch that puts it back.
func Data(template *corev1.PodTemplateSpec) ([]byte, error) {
	raw, err := json.Marshal(template)
	if err != nil {
		return nil, fmt.Errorf("encode template: %w", err)
	}
	var fields map[string]any
	if err := json.Unmarshal(raw, &fields); err != nil {
		return nil, fmt.Errorf("encode template: %w", err)
	}
	fields["$patch"] = "replace"
	return json.Marshal(map[string]any{"spec": map[string]any{"template": fields}})
}

// Template is the template that a revision keeps.
func Template(revision *appsv1.ControllerRevision) (*corev1.PodTemplateSpec, error) {
	var data struct {
		Spec struct {
			Template corev1.PodTemplateSpec `json:"template"`
		} `json:"spec"`
	}
	if err := json.Unmarshal(revision.Data.Raw, &data); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", revision.Name, err)
	}
	return &data.Spec.Template, nil
}

// Hash names data. Collisions change it.
func Hash(data []byte, collisions int32) string {
	h := fnv.New32()
	h.Write(data)
	h.Write([]byte(strconv.Itoa(int(collisions))))
	return rand.SafeEncodeString(strconv.FormatUint(uint64(h.Sum32()), 10))
}

// List returns the owner's revisions, oldest first, adopting loose ones.
func (b *Book) List(ctx context.Context) ([]*appsv1.ControllerRevision, error) {
	selector, err := metav1.LabelSelectorAsSelector(b.Selector)
	if err != nil {
		return nil, fmt.Errorf("read selector: %w", err)
	}
	claimer := &workload.Claimer{Client: b.Client, Cache: b.Cache, Owner: b.Owner, Kind: b.Kind, Selector: labels.Everything()}
	mayBeOurs := func(r *appsv1.ControllerRevision) bool {
		return metav1.GetControllerOfNoCopy(r) != nil || selector.Matches(labels.Set(r.Labels))
	}
	out, err := workload.Claimed(ctx, claimer, &appsv1.ControllerRevisionList{}, mayBeOurs)
	if err != nil {
		return nil, err
	}
	slices.SortFunc(out, func(a, b *appsv1.ControllerRevision) int {
		return cmp.Or(cmp.Compare(a.Revision, b.Revision), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	return out, nil
}

// ErrCollision says that a revision of other content has the name; the owner's
// collision count must grow.
var ErrCollision = errors.New("name of the revision is taken")

// Latest returns the revision of the template, which it makes or brings to the
// front as needed. revisions are what List returned.
func (b *Book) Latest(ctx context.Context, template *corev1.PodTemplateSpec, revisions []*appsv1.ControllerRevision) (*appsv1.ControllerRevision, error) {
	data, err := Data(template)
	if err != nil {
		return nil, err
	}
	next := int64(1)
	if n := len(revisions); n > 0 {
		next = revisions[n-1].Revision + 1
	}
	for i, r := range slices.Backward(revisions) {
		if !sameData(r.Data.Raw, data) {
			continue
		}
		if i == len(revisions)-1 {
			return r, nil
		}
		changed := r.DeepCopy()
		changed.Revision = next
		if err := b.Client.Update(ctx, changed); err != nil {
			return nil, fmt.Errorf("bring back revision %s: %w", r.Name, err)
		}
		return changed, nil
	}
	return b.create(ctx, template, data, next)
}

// sameData compares by content: the API server may write JSON another way.
func sameData(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any
	if json.Unmarshal(a, &x) != nil || json.Unmarshal(b, &y) != nil {
		return false
	}
	x1, err1 := json.Marshal(x)
	y1, err2 := json.Marshal(y)
	return err1 == nil && err2 == nil && bytes.Equal(x1, y1)
}

func (b *Book) create(ctx context.Context, template *corev1.PodTemplateSpec, data []byte, number int64) (*appsv1.ControllerRevision, error) {
	hash := b.Hash(template, data)
	own := map[string]string{}
	for k, v := range template.Labels {
		own[k] = v
	}
	own[b.HashLabel] = hash
	prefix := b.Owner.GetName()
	revision := &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace:       b.Owner.GetNamespace(),
			Name:            prefix[:min(len(prefix), maxPrefix)] + "-" + hash,
			Labels:          own,
			Annotations:     withoutApplied(b.Owner.GetAnnotations()),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(b.Owner, b.Kind)},
		},
		Data:     runtime.RawExtension{Raw: data},
		Revision: number,
	}
	err := b.Client.Create(ctx, revision)
	if err == nil {
		return revision, nil
	}
	if !apierrors.IsAlreadyExists(err) {
		return nil, fmt.Errorf("create revision: %w", err)
	}
	have := &appsv1.ControllerRevision{}
	if err := b.Client.Get(ctx, client.ObjectKeyFromObject(revision), have); err != nil {
		return nil, fmt.Errorf("read revision %s: %w", revision.Name, err)
	}
	if sameData(have.Data.Raw, data) {
		// The cache does not show it yet, or it is loose, because its owner is being
		// deleted without it. Another name would replace all pods when a new owner
		// adopts both.
		return have, nil
	}
	return nil, ErrCollision
}

// withoutApplied are the annotations that history shows, the change cause above
// all, but not the whole object as it was applied.
func withoutApplied(annotations map[string]string) map[string]string {
	out := map[string]string{}
	for k, v := range annotations {
		if k != corev1.LastAppliedConfigAnnotation {
			out[k] = v
		}
	}
	return out
}

// Trim deletes the oldest revisions beyond limit, sparing those in use.
func (b *Book) Trim(ctx context.Context, revisions []*appsv1.ControllerRevision, inUse func(*appsv1.ControllerRevision) bool, limit *int32) error {
	keep := 10
	if limit != nil {
		keep = int(*limit)
	}
	var idle []*appsv1.ControllerRevision
	for _, r := range revisions {
		if !inUse(r) {
			idle = append(idle, r)
		}
	}
	for _, r := range idle[:max(len(idle)-keep, 0)] {
		if err := b.Client.Delete(ctx, r, client.Preconditions{UID: &r.UID}); client.IgnoreNotFound(err) != nil {
			return fmt.Errorf("delete old revision %s: %w", r.Name, err)
		}
	}
	return nil
}
