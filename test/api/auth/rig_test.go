package auth

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/sinawi/sinawi/internal/apiserver/apitest"
	"github.com/sinawi/sinawi/internal/apiserver/controlplane"
)

// patience bounds every wait; nothing is asserted about how long one takes.
const patience = 90 * time.Second

const namespace = "default"

// guarded starts a server whose guard is changed.
func guarded(t *testing.T, change func(*controlplane.Guard)) *apitest.Server {
	t.Helper()
	return apitest.StartWith(t, apitest.Options{Mutate: func(o *controlplane.Options) { change(&o.Guard) }})
}

// must returns the value, or ends the test.
func must[T any](t *testing.T) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// eventually waits until f returns nil.
func eventually(t *testing.T, f func() error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		last = f()
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("%v: %v", err, last)
	}
}

// reviewer starts a program that answers reviews of one kind until the test ends,
// and returns the kubeconfig by which the server finds it.
func reviewer[R any](t *testing.T, answer func(*R)) (file string) {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review R
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		answer(&review)
		_ = json.NewEncoder(w).Encode(review)
	}))
	t.Cleanup(s.Close)
	return write(t, "reviewer.yaml", kubeconfig(s.URL))
}

func kubeconfig(url string) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: hook, cluster: {server: %q}}]
users: [{name: me}]
contexts: [{name: hook, context: {cluster: hook, user: me}}]
current-context: hook
`, url)
}

func write(t *testing.T, file, content string) string {
	t.Helper()
	if filepath.Dir(file) == "." {
		file = filepath.Join(t.TempDir(), file)
	}
	if err := os.WriteFile(file+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".new", file); err != nil {
		t.Fatal(err)
	}
	return file
}

func client(t *testing.T, config *rest.Config) kubernetes.Interface {
	t.Helper()
	return must[kubernetes.Interface](t)(kubernetes.NewForConfig(config))
}

// bearer is a client with a token and nothing else.
func bearer(t *testing.T, s *apitest.Server, token string) kubernetes.Interface {
	t.Helper()
	config := rest.AnonymousClientConfig(s.Config)
	config.BearerToken = token
	return client(t, config)
}

// whoAmI asks the server.
func whoAmI(ctx context.Context, c kubernetes.Interface) (authenticationv1.UserInfo, error) {
	me, err := c.AuthenticationV1().SelfSubjectReviews().Create(ctx, &authenticationv1.SelfSubjectReview{}, metav1.CreateOptions{})
	if err != nil {
		return authenticationv1.UserInfo{}, err
	}
	return me.Status.UserInfo, nil
}

// allow gives a user a cluster role with the rules.
func allow(t *testing.T, s *apitest.Server, user string, rules ...rbacv1.PolicyRule) {
	t.Helper()
	role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "may-"}, Rules: rules}
	role = must[*rbacv1.ClusterRole](t)(s.Clientset().RbacV1().ClusterRoles().Create(t.Context(), role, metav1.CreateOptions{}))
	must[*rbacv1.ClusterRoleBinding](t)(s.Clientset().RbacV1().ClusterRoleBindings().Create(t.Context(), &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: role.Name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
		Subjects:   []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: "User", Name: user}},
	}, metav1.CreateOptions{}))
}
