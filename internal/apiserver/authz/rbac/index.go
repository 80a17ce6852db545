package rbac

import (
	"fmt"
	"slices"
	"strings"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
	"k8s.io/apiserver/pkg/authentication/user"

	"github.com/sinawi/sinawi/internal/apiserver/authz/follow"
)

// Index holds roles by name and bindings by whom they name.
//
// Every binding in bindings stands in bySubject under each of its subjects that
// can name anybody, and nothing else does. Objects given to it are kept and
// never changed.
type Index struct {
	mu        sync.RWMutex
	roles     map[key][]rbacv1.PolicyRule // guarded by mu
	bindings  map[key]*binding            // guarded by mu
	bySubject map[subject][]*binding      // guarded by mu; sorted by name

	gate *follow.Gate // open when the present state has been taken in
}

// key names a role or a binding; cluster-wide ones have no namespace.
type key struct{ namespace, name string }

// subject is a user or a group, within the reach of one kind of binding.
type subject struct {
	namespace string // of the binding; empty for a cluster-wide one
	group     bool
	name      string
}

type binding struct {
	key
	ref      rbacv1.RoleRef
	subjects []rbacv1.Subject
}

// grant is one way in which a user came by rules.
type grant struct {
	binding *binding
	subject *rbacv1.Subject
}

// String describes the grant in the words of upstream's audit log.
func (g grant) String() string {
	b, s := g.binding, g.subject
	kind, name := "ClusterRoleBinding", b.name
	if b.namespace != "" {
		kind, name = "RoleBinding", b.name+"/"+b.namespace
	}
	who := s.Name
	if s.Kind == rbacv1.ServiceAccountKind {
		who += "/" + accountNamespace(s, b.namespace)
	}
	return fmt.Sprintf("%s %q of %s %q to %s %q", kind, name, b.ref.Kind, b.ref.Name, s.Kind, who)
}

// NewIndex returns an empty index.
func NewIndex() *Index {
	return &Index{
		roles:     map[key][]rbacv1.PolicyRule{},
		bindings:  map[key]*binding{},
		bySubject: map[subject][]*binding{},
		gate:      follow.NewGate(),
	}
}

// SetRole takes in the rules of a role; of a cluster role when namespace is empty.
func (x *Index) SetRole(namespace, name string, rules []rbacv1.PolicyRule) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.roles[key{namespace, name}] = rules
}

// DeleteRole forgets a role.
func (x *Index) DeleteRole(namespace, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	delete(x.roles, key{namespace, name})
}

// SetBinding takes in a binding; a cluster-wide one when namespace is empty.
func (x *Index) SetBinding(namespace, name string, ref rbacv1.RoleRef, subjects []rbacv1.Subject) {
	x.mu.Lock()
	defer x.mu.Unlock()
	b := &binding{key: key{namespace, name}, ref: ref, subjects: subjects}
	x.drop(b.key)
	x.bindings[b.key] = b
	for _, s := range b.named() {
		list := x.bySubject[s]
		i, found := slices.BinarySearchFunc(list, b, byName)
		if found {
			continue // named twice
		}
		x.bySubject[s] = slices.Insert(slices.Clone(list), i, b)
	}
}

// DeleteBinding forgets a binding.
func (x *Index) DeleteBinding(namespace, name string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.drop(key{namespace, name})
}

func (x *Index) drop(k key) {
	b := x.bindings[k]
	if b == nil {
		return
	}
	delete(x.bindings, k)
	for _, s := range b.named() {
		list := slices.DeleteFunc(slices.Clone(x.bySubject[s]), func(o *binding) bool { return o == b })
		if len(list) == 0 {
			delete(x.bySubject, s)
			continue
		}
		x.bySubject[s] = list
	}
}

func byName(a, b *binding) int { return strings.Compare(a.name, b.name) }

// named returns under which subjects a binding is found.
func (b *binding) named() []subject {
	var out []subject
	for i := range b.subjects {
		if s, ok := b.subjectOf(&b.subjects[i]); ok {
			out = append(out, s)
		}
	}
	return out
}

func (b *binding) subjectOf(s *rbacv1.Subject) (subject, bool) {
	switch s.Kind {
	case rbacv1.UserKind:
		return subject{namespace: b.namespace, name: s.Name}, true
	case rbacv1.GroupKind:
		return subject{namespace: b.namespace, group: true, name: s.Name}, true
	case rbacv1.ServiceAccountKind:
		ns := accountNamespace(s, b.namespace)
		if ns == "" {
			return subject{}, false
		}
		return subject{namespace: b.namespace, name: serviceaccount.MakeUsername(ns, s.Name)}, true
	}
	return subject{}, false
}

// accountNamespace is that of the binding when the subject names none.
func accountNamespace(s *rbacv1.Subject, bindingNamespace string) string {
	if s.Namespace != "" {
		return s.Namespace
	}
	return bindingNamespace
}

// visit calls f with every grant to u that reaches into namespace, cluster-wide
// ones first, until f returns false. f gets an error in place of rules when the
// role that a binding refers to is not there.
func (x *Index) visit(u user.Info, namespace string, f func(grant, []rbacv1.PolicyRule, error) bool) {
	x.mu.RLock()
	defer x.mu.RUnlock()
	if !x.visitIn(u, "", f) || namespace == "" {
		return
	}
	x.visitIn(u, namespace, f)
}

func (x *Index) visitIn(u user.Info, namespace string, f func(grant, []rbacv1.PolicyRule, error) bool) bool {
	var seen map[*binding]bool
	visit := func(s subject) bool {
		for _, b := range x.bySubject[s] {
			if seen[b] {
				continue
			}
			if seen == nil {
				seen = map[*binding]bool{}
			}
			seen[b] = true
			rules, err := x.rules(b.ref, namespace)
			if !f(grant{binding: b, subject: b.find(s)}, rules, err) {
				return false
			}
		}
		return true
	}
	if !visit(subject{namespace: namespace, name: u.GetName()}) {
		return false
	}
	for _, g := range u.GetGroups() {
		if !visit(subject{namespace: namespace, group: true, name: g}) {
			return false
		}
	}
	return true
}

// find returns the subject of b that put it into the index under s.
func (b *binding) find(s subject) *rbacv1.Subject {
	for i := range b.subjects {
		if got, ok := b.subjectOf(&b.subjects[i]); ok && got == s {
			return &b.subjects[i]
		}
	}
	panic(fmt.Sprintf("rbac index: binding %s/%s does not name %q", b.namespace, b.name, s.name))
}

// rules returns what ref refers to from a binding in namespace.
func (x *Index) rules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	k := key{name: ref.Name}
	resource := "clusterrole"
	switch ref.Kind {
	case "Role":
		k.namespace, resource = namespace, "role"
	case "ClusterRole":
	default:
		return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
	}
	rules, ok := x.roles[k]
	if !ok {
		return nil, apierrors.NewNotFound(rbacv1.Resource(resource), ref.Name)
	}
	return rules, nil
}
