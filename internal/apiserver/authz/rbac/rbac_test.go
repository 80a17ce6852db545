package rbac

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"pgregory.net/rapid"
)

// request reads "verb resource[.group][/sub][:name]" or "verb /path".
func request(u user.Info, namespace, s string) authorizer.AttributesRecord {
	verb, target, _ := strings.Cut(s, " ")
	a := authorizer.AttributesRecord{User: u, Verb: verb, Namespace: namespace}
	if strings.HasPrefix(target, "/") {
		a.Path = target
		return a
	}
	a.ResourceRequest = true
	target, a.Name, _ = strings.Cut(target, ":")
	target, a.Subresource, _ = strings.Cut(target, "/")
	a.Resource, a.APIGroup, _ = strings.Cut(target, ".")
	return a
}

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	r := rbacv1.PolicyRule{Verbs: strings.Fields(verbs), APIGroups: strings.Fields(groups), Resources: strings.Fields(resources), ResourceNames: names}
	for i := range r.APIGroups {
		r.APIGroups[i] = strings.TrimPrefix(r.APIGroups[i], "core")
	}
	return r
}

func TestRules(t *testing.T) {
	paths := rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/apis", "/healthz/*"}}
	for _, c := range []struct {
		rule  rbacv1.PolicyRule
		allow string
		deny  string
	}{
		{rule("get list", "core", "pods"), "get pods, list pods, get pods:a", "watch pods, get pods.apps, get pods/log, get /pods"},
		{rule("*", "*", "*"), "get pods, delete nodes.x/y:z", "get /version"},
		{rule("get", "apps", "*/scale"), "get deployments.apps/scale", "get deployments.apps, get deployments.apps/status"},
		{rule("get", "core", "pods/log"), "get pods/log", "get pods, get pods/exec"},
		{rule("get", "core", "secrets", "a", "b"), "get secrets:a, get secrets:b", "get secrets, get secrets:c"},
		{rule("get", "core", "pods *"), "get anything, get anything/else", "list anything"},
		{paths, "get /apis, get /healthz/, get /healthz/etcd", "get /apis/x, get /healthz, post /apis, get apis"},
		{rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}, "get /, post /metrics", "get pods"},
		{rule("get", "core", "*/"), "", "get pods, get pods/log"},
	} {
		for _, s := range strings.Split(c.allow, ", ") {
			if s != "" && !Allows(request(nil, "", s), c.rule) {
				t.Errorf("%s does not allow %q", describe(c.rule), s)
			}
		}
		for _, s := range strings.Split(c.deny, ", ") {
			if Allows(request(nil, "", s), c.rule) {
				t.Errorf("%s allows %q", describe(c.rule), s)
			}
		}
	}
}

func subjects(list ...string) []rbacv1.Subject {
	var out []rbacv1.Subject
	for _, s := range list {
		kind, name, _ := strings.Cut(s, ":")
		sub := rbacv1.Subject{Kind: kind, Name: name}
		if kind == rbacv1.ServiceAccountKind {
			if ns, account, ok := strings.Cut(name, "/"); ok {
				sub.Namespace, sub.Name = ns, account
			}
		}
		out = append(out, sub)
	}
	return out
}

func clusterRef(name string) rbacv1.RoleRef { return rbacv1.RoleRef{Kind: "ClusterRole", Name: name} }
func ref(name string) rbacv1.RoleRef        { return rbacv1.RoleRef{Kind: "Role", Name: name} }

func exampleIndex() *Index {
	x := NewIndex()
	x.gate.Open()
	x.SetRole("", "admin", []rbacv1.PolicyRule{rule("*", "*", "*")})
	x.SetRole("", "reader", []rbacv1.PolicyRule{rule("get list", "core", "pods")})
	x.SetRole("a", "writer", []rbacv1.PolicyRule{rule("create", "core", "pods")})
	x.SetBinding("", "admins", clusterRef("admin"), subjects("Group:ops", "User:root"))
	x.SetBinding("a", "readers", clusterRef("reader"), subjects("User:ann", "ServiceAccount:robot", "ServiceAccount:b/other"))
	x.SetBinding("a", "writers", ref("writer"), subjects("Group:devs"))
	x.SetBinding("", "cluster-robots", clusterRef("reader"), subjects("ServiceAccount:nowhere", "ServiceAccount:b/cluster"))
	x.SetBinding("a", "broken", ref("missing"), subjects("User:unlucky"))
	return x
}

func TestAuthorize(t *testing.T) {
	a := New(exampleIndex())
	for _, c := range []struct {
		user, groups, namespace, request string
		want                             authorizer.Decision
		reason                           string
	}{
		{"root", "", "", "delete nodes:x", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to User "root"`},
		{"any", "x ops", "z", "get secrets", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "admins" of ClusterRole "admin" to Group "ops"`},
		{"ann", "", "a", "get pods", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "readers/a" of ClusterRole "reader" to User "ann"`},
		{"ann", "", "b", "get pods", authorizer.DecisionNoOpinion, ""},
		{"ann", "", "", "get pods", authorizer.DecisionNoOpinion, ""},
		{"ann", "", "a", "create pods", authorizer.DecisionNoOpinion, ""},
		{"ann", "devs", "a", "create pods", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "writers/a" of Role "writer" to Group "devs"`},
		{"system:serviceaccount:a:robot", "", "a", "list pods", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "readers/a" of ClusterRole "reader" to ServiceAccount "robot/a"`},
		{"system:serviceaccount:b:other", "", "a", "list pods", authorizer.DecisionAllow, `RBAC: allowed by RoleBinding "readers/a" of ClusterRole "reader" to ServiceAccount "other/b"`},
		{"system:serviceaccount:b:robot", "", "a", "list pods", authorizer.DecisionNoOpinion, ""},
		{"system:serviceaccount:b:cluster", "", "", "list pods", authorizer.DecisionAllow, `RBAC: allowed by ClusterRoleBinding "cluster-robots" of ClusterRole "reader" to ServiceAccount "cluster/b"`},
		{"system:serviceaccount::nowhere", "", "", "list pods", authorizer.DecisionNoOpinion, ""},
		{"unlucky", "", "a", "get pods", authorizer.DecisionNoOpinion, `RBAC: role.rbac.authorization.k8s.io "missing" not found`},
	} {
		attrs := request(&user.DefaultInfo{Name: c.user, Groups: strings.Fields(c.groups)}, c.namespace, c.request)
		got, reason, err := a.Authorize(context.Background(), attrs)
		if got != c.want || reason != c.reason || err != nil {
			t.Errorf("%s (%s) %s in %q: %v %q %v; want %v %q", c.user, c.groups, c.request, c.namespace, got, reason, err, c.want, c.reason)
		}
	}
}

func TestRulesFor(t *testing.T) {
	a := New(exampleIndex())
	rules, err := a.PolicyRulesFor(&user.DefaultInfo{Name: "ann", Groups: []string{"devs"}}, "a")
	if err != nil {
		t.Fatal(err)
	}
	want := []rbacv1.PolicyRule{rule("get list", "core", "pods"), rule("create", "core", "pods")}
	if diff := cmp.Diff(want, rules); diff != "" {
		t.Error(diff)
	}
	if _, err := a.PolicyRulesFor(&user.DefaultInfo{Name: "unlucky"}, "a"); err == nil {
		t.Error("no error for a role that is not there")
	}
}

// The index answers as a scan over all bindings would, after any history.
func TestIndexAgainstScan(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		x := NewIndex()
		type bound struct {
			ref      rbacv1.RoleRef
			subjects []rbacv1.Subject
		}
		have := map[key]bound{}
		spaces := rapid.SampledFrom([]string{"", "a", "b"})
		names := rapid.SampledFrom([]string{"r1", "r2", "r3"})
		who := rapid.SampledFrom([]string{"User:u", "User:v", "Group:g", "Group:h", "ServiceAccount:s", "ServiceAccount:a/s"})
		for _, n := range []string{"r1", "r2"} {
			x.SetRole("", n, []rbacv1.PolicyRule{rule("get", "core", n)})
		}
		for range rapid.IntRange(1, 30).Draw(t, "steps") {
			k := key{spaces.Draw(t, "namespace"), names.Draw(t, "name")}
			if rapid.Bool().Draw(t, "delete") {
				x.DeleteBinding(k.namespace, k.name)
				delete(have, k)
				continue
			}
			b := bound{clusterRef(names.Draw(t, "role")), subjects(rapid.SliceOfN(who, 0, 3).Draw(t, "subjects")...)}
			x.SetBinding(k.namespace, k.name, b.ref, b.subjects)
			have[k] = b
		}
		u := &user.DefaultInfo{Name: rapid.SampledFrom([]string{"u", "v", "system:serviceaccount:a:s"}).Draw(t, "user"), Groups: []string{"g"}}
		namespace := spaces.Draw(t, "where")
		var want []string
		for k, b := range have {
			reaches := k.namespace == "" || k.namespace == namespace
			names := slices.ContainsFunc(b.subjects, func(s rbacv1.Subject) bool {
				return s.Kind == "User" && s.Name == u.Name || s.Kind == "Group" && s.Name == "g" ||
					s.Kind == "ServiceAccount" && u.Name == "system:serviceaccount:a:s" && accountNamespace(&s, k.namespace) == "a"
			})
			if reaches && names && b.ref.Name != "r3" {
				want = append(want, b.ref.Name)
			}
		}
		rules, _ := New(x).PolicyRulesFor(u, namespace)
		var got []string
		for _, r := range rules {
			got = append(got, r.Resources[0])
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(want, got) {
			t.Fatalf("index finds %v, a scan %v", got, want)
		}
	})
}

func write(u user.Info, namespace string, resource string, obj, old runtime.Object) admission.Attributes {
	op := admission.Create
	if old != nil {
		op = admission.Update
	}
	gvr := schema.GroupVersionResource{Group: rbacv1.GroupName, Version: "v1", Resource: resource}
	return admission.NewAttributesRecord(obj, old, schema.GroupVersionKind{}, namespace, "name", gvr, "", op, nil, false, u)
}

func TestEscalation(t *testing.T) {
	x := exampleIndex()
	x.SetRole("", "escalator", []rbacv1.PolicyRule{rule("escalate", rbacv1.GroupName, "roles clusterroles")})
	x.SetRole("", "binder", []rbacv1.PolicyRule{rule("bind", rbacv1.GroupName, "clusterroles", "admin")})
	x.SetBinding("", "escalators", clusterRef("escalator"), subjects("User:escalator"))
	x.SetBinding("", "binders", clusterRef("binder"), subjects("User:binder"))
	a := New(x)
	e := NewEscalation(a, a)
	ann := &user.DefaultInfo{Name: "ann"}
	role := func(rules ...rbacv1.PolicyRule) *rbacv1.Role {
		return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: "name", Namespace: "a"}, Rules: rules}
	}
	owned := role(rule("*", "*", "*"))
	owned.Finalizers = []string{"x"}
	aggregated := &rbacv1.ClusterRole{AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}}
	bind := func(ref rbacv1.RoleRef) *rbacv1.RoleBinding { return &rbacv1.RoleBinding{RoleRef: ref} }
	for name, c := range map[string]struct {
		attrs admission.Attributes
		want  string // part of the error; empty means allowed
	}{
		"what one has":    {write(ann, "a", "roles", role(rule("get", "core", "pods")), nil), ""},
		"part of it":      {write(ann, "a", "roles", role(rule("get", "core", "pods", "one")), nil), ""},
		"more verbs":      {write(ann, "a", "roles", role(rule("get delete watch", "core", "pods")), nil), `{APIGroups:[""], Resources:["pods"], Verbs:["delete" "watch"]}`},
		"elsewhere":       {write(ann, "b", "roles", role(rule("get", "core", "pods")), nil), "attempting to grant RBAC permissions not currently held"},
		"masters":         {write(&user.DefaultInfo{Name: "x", Groups: []string{"system:masters"}}, "a", "roles", role(rule("*", "*", "*")), nil), ""},
		"escalate":        {write(&user.DefaultInfo{Name: "escalator"}, "a", "roles", role(rule("*", "*", "*")), nil), ""},
		"only finalizers": {write(ann, "a", "roles", owned, role(rule("*", "*", "*"))), ""},
		"aggregation":     {write(ann, "", "clusterroles", aggregated, nil), "must have cluster-admin privileges to use the aggregationRule"},
		"bind held":       {write(ann, "a", "rolebindings", bind(clusterRef("reader")), nil), ""},
		"bind more":       {write(ann, "a", "rolebindings", bind(clusterRef("admin")), nil), "attempting to grant"},
		"bind allowed":    {write(&user.DefaultInfo{Name: "binder"}, "a", "rolebindings", bind(clusterRef("admin")), nil), ""},
		"bind another":    {write(&user.DefaultInfo{Name: "binder"}, "a", "rolebindings", bind(clusterRef("reader")), nil), "attempting to grant"},
		"bind missing":    {write(ann, "a", "rolebindings", bind(ref("nope")), nil), `rolebindings.rbac.authorization.k8s.io "nope" not found`},
		"a path":          {write(ann, "", "clusterroles", &rbacv1.ClusterRole{Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, NonResourceURLs: []string{"/x"}}}}, nil), `{NonResourceURLs:["/x"], Verbs:["get"]}`},
	} {
		t.Run(name, func(t *testing.T) {
			err := e.Validate(context.Background(), c.attrs, nil)
			if c.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
				t.Errorf("got %v, want %q", err, c.want)
			}
		})
	}
}
