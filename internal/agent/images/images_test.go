package images

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/record"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// registry is a runtime's image service: private images open by password.
type registry struct {
	cri.ImageServiceClient
	cri.RuntimeServiceClient
	mu        sync.Mutex
	here      map[string]*cri.Image // by name
	passwords map[string]string     // of private images
	broken    map[string]error
	gate      chan struct{} // when not nil, a pull waits for it
	pulls     []string
	removed   []string
	used      []string
}

func newRegistry() *registry {
	return &registry{here: map[string]*cri.Image{}, passwords: map[string]string{}, broken: map[string]error{}}
}

func (r *registry) ImageStatus(_ context.Context, in *cri.ImageStatusRequest, _ ...grpc.CallOption) (*cri.ImageStatusResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return &cri.ImageStatusResponse{Image: r.here[in.Image.Image]}, nil
}

func (r *registry) PullImage(ctx context.Context, in *cri.PullImageRequest, _ ...grpc.CallOption) (*cri.PullImageResponse, error) {
	image := in.Image.Image
	r.mu.Lock()
	r.pulls = append(r.pulls, image+" "+in.Auth.GetPassword())
	r.mu.Unlock()
	if r.gate != nil {
		select {
		case <-r.gate:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err := r.broken[image]; err != nil {
		return nil, err
	}
	if password := r.passwords[image]; password != "" && in.Auth.GetPassword() != password {
		return nil, status.Error(codes.Unknown, "pull access denied")
	}
	r.here[image] = &cri.Image{Id: "sha256:" + image, RepoTags: []string{image}, Size: 100}
	return &cri.PullImageResponse{ImageRef: "sha256:" + image}, nil
}

func (r *registry) ListImages(context.Context, *cri.ListImagesRequest, ...grpc.CallOption) (*cri.ListImagesResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	answer := &cri.ListImagesResponse{}
	for _, image := range r.here {
		answer.Images = append(answer.Images, image)
	}
	return answer, nil
}

func (r *registry) RemoveImage(_ context.Context, in *cri.RemoveImageRequest, _ ...grpc.CallOption) (*cri.RemoveImageResponse, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.removed = append(r.removed, in.Image.Image)
	return &cri.RemoveImageResponse{}, nil
}

func (r *registry) ListContainers(context.Context, *cri.ListContainersRequest, ...grpc.CallOption) (*cri.ListContainersResponse, error) {
	answer := &cri.ListContainersResponse{}
	for _, image := range r.used {
		answer.Containers = append(answer.Containers, &cri.Container{ImageId: image, Image: &cri.ImageSpec{Image: image}})
	}
	return answer, nil
}

// secrets holds pull secrets by name.
type secrets map[string]*corev1.Secret

func (s secrets) Secret(_ context.Context, _, name string) (*corev1.Secret, error) {
	if secret, ok := s[name]; ok {
		return secret, nil
	}
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "secret"}, name)
}

func pullSecret(registry, user, password string) *corev1.Secret {
	auth := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	return &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, registry, auth)}}
}

// events collects what a pod's owner is told.
type events struct {
	record.EventRecorder
	mu   sync.Mutex
	seen []string
}

func (e *events) Event(object runtime.Object, kind, reason, message string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.seen = append(e.seen, fmt.Sprintf("%s %s %s: %s", object.(*corev1.ObjectReference).FieldPath, kind, reason, message))
}

func (e *events) take() []string {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}

func newPuller(r *registry, s secrets, options Options) (*Puller, *events) {
	told := &events{}
	return New(Deps{Images: r, Runtime: r, Secrets: s, Recorder: told, Log: slog.New(slog.DiscardHandler)}, options), told
}

func pod(image string, policy corev1.PullPolicy, secrets ...string) (*corev1.Pod, *corev1.Container) {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "shop", UID: types.UID("uid-" + strings.Join(secrets, "-"))},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: image, ImagePullPolicy: policy}}}}
	for _, name := range secrets {
		p.Spec.ImagePullSecrets = append(p.Spec.ImagePullSecrets, corev1.LocalObjectReference{Name: name})
	}
	return p, &p.Spec.Containers[0]
}

func TestEnsure(t *testing.T) {
	unavailable := status.Error(codes.Unknown, "RegistryUnavailable: no route")
	const at = "spec.containers{c} "
	tests := map[string]struct {
		image   string
		policy  corev1.PullPolicy
		here    bool
		broken  error
		secrets []string
		ref     string
		reason  string
		message string
		pulls   []string
		events  []string
	}{
		"present": {image: "busybox", policy: corev1.PullIfNotPresent, here: true, ref: "sha256:busybox:latest",
			events: []string{at + `Normal Pulled: Container image "busybox" already present on machine and can be accessed by the pod`}},
		"never, present": {image: "busybox", policy: corev1.PullNever, here: true, ref: "sha256:busybox:latest",
			events: []string{at + `Normal Pulled: Container image "busybox" already present on machine and can be accessed by the pod`}},
		"always": {image: "busybox", policy: corev1.PullAlways, here: true, ref: "sha256:busybox:latest", pulls: []string{"busybox:latest "},
			events: []string{at + `Normal Pulling: Pulling image "busybox"`, at + `Normal Pulled: Successfully pulled image "busybox" in 0s (0s including waiting). Image size: 100 bytes.`}},
		"missing": {image: "reg.io:5000/a/b:1", policy: corev1.PullIfNotPresent, ref: "sha256:reg.io:5000/a/b:1", pulls: []string{"reg.io:5000/a/b:1 "},
			events: []string{at + `Normal Pulling: Pulling image "reg.io:5000/a/b:1"`, at + `Normal Pulled: Successfully pulled image "reg.io:5000/a/b:1" in 0s (0s including waiting). Image size: 100 bytes.`}},
		"never": {image: "busybox", policy: corev1.PullNever, reason: ErrImageNeverPull, message: `Container image "busybox" is not present with pull policy of Never`,
			events: []string{at + `Warning ErrImageNeverPull: Container image "busybox" is not present with pull policy of Never`, at + "Warning Failed: Error: ErrImageNeverPull"}},
		"bad name": {image: "BAD//name", policy: corev1.PullAlways, reason: InvalidImageName,
			message: `Failed to apply default image tag "BAD//name": couldn't parse image name "BAD//name": invalid reference format`,
			events: []string{at + `Warning InspectFailed: Failed to apply default image tag "BAD//name": couldn't parse image name "BAD//name": invalid reference format`,
				at + "Warning Failed: Error: InvalidImageName"}},
		"pull fails": {image: "none", policy: corev1.PullIfNotPresent, broken: status.Error(codes.NotFound, "not found"), reason: ErrImagePull, message: "rpc error: code = NotFound desc = not found", pulls: []string{"none:latest "},
			events: []string{at + `Normal Pulling: Pulling image "none"`, at + `Warning Failed: Failed to pull image "none": rpc error: code = NotFound desc = not found`, at + "Warning Failed: Error: ErrImagePull"}},
		"no registry": {image: "none", policy: corev1.PullIfNotPresent, broken: unavailable, reason: RegistryUnavailable, pulls: []string{"none:latest "},
			message: "image pull failed for none because the registry is unavailable: no route",
			events:  []string{at + `Normal Pulling: Pulling image "none"`, at + `Warning Failed: Failed to pull image "none": RegistryUnavailable: no route`, at + "Warning Failed: Error: RegistryUnavailable"}},
		"missing secret": {image: "busybox", policy: corev1.PullAlways, secrets: []string{"none", "good"}, ref: "sha256:busybox:latest", pulls: []string{"busybox:latest "},
			events: []string{at + `Normal Pulling: Pulling image "busybox"`,
				" Warning FailedToRetrieveImagePullSecret: Unable to retrieve some image pull secrets (none); attempting to pull the image may not succeed.",
				at + `Normal Pulled: Successfully pulled image "busybox" in 0s (0s including waiting). Image size: 100 bytes.`}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRegistry()
				if test.here {
					r.here["busybox:latest"] = &cri.Image{Id: "sha256:busybox:latest"}
				}
				r.broken["none:latest"] = test.broken
				p, told := newPuller(r, secrets{"good": pullSecret("reg.io", "u", "p")}, Options{})
				po, c := pod(test.image, test.policy, test.secrets...)
				ref, err := p.Ensure(t.Context(), po, c)
				if ref != test.ref {
					t.Errorf("reference %q, want %q", ref, test.ref)
				}
				var waits *Error
				if errors.As(err, &waits) != (test.reason != "") || waits != nil && (waits.Reason() != test.reason || waits.Error() != test.message) {
					t.Errorf("got %#v %v, want %s: %s", waits, err, test.reason, test.message)
				}
				if diff := cmp.Diff(test.pulls, r.pulls); diff != "" {
					t.Error(diff)
				}
				if diff := cmp.Diff(test.events, told.take()); diff != "" {
					t.Error(diff)
				}
			})
		})
	}
}

func TestBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.broken["none:latest"] = errors.New("no")
		p, _ := newPuller(r, nil, Options{})
		po, c := pod("none", corev1.PullAlways)
		ensure := func(reason string, wait time.Duration) {
			t.Helper()
			_, err := p.Ensure(t.Context(), po, c)
			var waits *Error
			if !errors.As(err, &waits) || waits.Reason() != reason || time.Until(waits.RetryAt()) != wait {
				t.Fatalf("got %v, retry in %v; want %s in %v", err, time.Until(waits.RetryAt()), reason, wait)
			}
		}
		for _, delay := range []time.Duration{10, 20, 40, 80, 160, 300, 300} {
			ensure(ErrImagePull, showError)
			time.Sleep(showError)
			ensure(ImagePullBackOff, delay*time.Second-showError)
			time.Sleep(delay*time.Second - showError)
		}
		ensure(ErrImagePull, showError)
		if _, err := p.Ensure(t.Context(), po, c); err == nil || err.Error() != `Back-off pulling image "none": ErrImagePull: no` {
			t.Errorf("got %v", err)
		}
		// Another pod does not wait for this one, and a pull that works ends it.
		other, _ := pod("none", corev1.PullAlways, "other")
		if _, err := p.Ensure(t.Context(), other, c); err == nil || err.Error() != "no" {
			t.Errorf("another pod: %v", err)
		}
		time.Sleep(5 * time.Minute)
		r.broken = nil
		if _, err := p.Ensure(t.Context(), po, c); err != nil {
			t.Error(err)
		}
		r.broken = map[string]error{"none:latest": errors.New("no")}
		ensure(ErrImagePull, showError)
		ensure(ImagePullBackOff, 10*time.Second)
	})
}

// A private image serves whom it was pulled for, after a restart too.
func TestPrivate(t *testing.T) {
	r := newRegistry()
	r.passwords["reg.io/app:1"] = "right"
	known := secrets{"right": pullSecret("reg.io", "u", "right"), "copy": pullSecret("https://reg.io/v1/", "u", "right"),
		"wrong": pullSecret("reg.io", "u", "wrong"), "elsewhere": pullSecret("other.io", "u", "right")}
	record := filepath.Join(t.TempDir(), "agent", "images.json")
	var p *Puller
	ensure := func(policy corev1.PullPolicy, want string, secrets ...string) {
		t.Helper()
		po, c := pod("reg.io/app:1", policy, secrets...)
		ref, err := p.Ensure(t.Context(), po, c)
		got := fmt.Sprint(ref, err)
		if want == "" {
			want = "sha256:reg.io/app:1<nil>"
		}
		if got != want {
			t.Errorf("with %v: got %q, want %q", secrets, got, want)
		}
	}
	p, _ = newPuller(r, known, Options{Record: record})
	ensure(corev1.PullIfNotPresent, "rpc error: code = Unknown desc = pull access denied", "wrong")
	ensure(corev1.PullIfNotPresent, "", "wrong", "right")
	for range 2 {
		r.pulls = nil
		ensure(corev1.PullIfNotPresent, "", "right")
		ensure(corev1.PullIfNotPresent, "", "copy")
		ensure(corev1.PullNever, "", "copy")
		if len(r.pulls) > 0 {
			t.Errorf("pulled again: %v", r.pulls)
		}
		ensure(corev1.PullIfNotPresent, "rpc error: code = Unknown desc = pull access denied", "elsewhere")
		ensure(corev1.PullIfNotPresent, "rpc error: code = Unknown desc = pull access denied")
		ensure(corev1.PullNever, `Container image "reg.io/app:1" is present with pull policy of Never, but the pod's pull secrets do not open it`)
		p, _ = newPuller(r, known, Options{Record: record})
	}
	data, err := os.ReadFile(record)
	if err != nil || strings.Contains(string(data), "right") {
		t.Errorf("the record: %s %v", data, err)
	}
	if info, err := os.Stat(record); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("who may read the record: %v %v", info, err)
	}
	// What becomes public is for all.
	r.passwords = nil
	ensure(corev1.PullAlways, "")
	ensure(corev1.PullNever, "")
}

func TestJoinedPulls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRegistry()
		r.gate = make(chan struct{})
		p, _ := newPuller(r, nil, Options{MaxParallel: 1})
		ctx, cancel := context.WithCancel(t.Context())
		results := make(chan error, 4)
		ensure := func(ctx context.Context, image string) {
			po, c := pod(image, corev1.PullAlways)
			_, err := p.Ensure(ctx, po, c)
			results <- err
		}
		go ensure(ctx, "a")
		synctest.Wait()
		go ensure(t.Context(), "a")
		synctest.Wait()
		go ensure(ctx, "b")
		synctest.Wait()
		if diff := cmp.Diff([]string{"a:latest "}, r.pulls); diff != "" {
			t.Error("pulls at once:", diff)
		}
		// Who began the pull leaves; the other still gets the image.
		cancel()
		for range 2 {
			if err := <-results; !errors.Is(err, context.Canceled) {
				t.Errorf("got %v", err)
			}
		}
		close(r.gate)
		if err := <-results; err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if diff := cmp.Diff([]string{"a:latest "}, r.pulls); diff != "" {
			t.Error(diff)
		}
	})
}

func TestKeyring(t *testing.T) {
	config := `{"auths":{
		"https://index.docker.io/v1/":{"auth":"` + base64.StdEncoding.EncodeToString([]byte("hub:pw:with:colons")) + `"},
		"reg.io":{"username":"plain","password":"p"},
		"reg.io/team":{"username":"team","password":"p"},
		"*.cloud.io:5000":{"username":"glob","password":"p"},
		"broken.io":{"auth":"!!!"},
		"id.io":{"identitytoken":"tok"}}}`
	ring, err := ReadSecrets([]*corev1.Secret{
		{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte(config)}},
		{Type: corev1.SecretTypeDockercfg, Data: map[string][]byte{corev1.DockerConfigKey: []byte(`{"old.io":{"username":"old","password":"p"}}`)}},
		{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "bad"}, Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{corev1.DockerConfigJsonKey: []byte("secret!")}},
		{Type: corev1.SecretTypeOpaque},
	})
	if err == nil || err.Error() != "pull secret n/bad does not hold a docker config" {
		t.Errorf("got %v", err)
	}
	tests := map[string][]string{
		"docker.io/library/busybox": {"hub"},
		"docker.io/me/app":          {"hub"},
		"reg.io/app":                {"plain"},
		"reg.io/team/app":           {"team", "plain"},
		"a.cloud.io:5000/x":         {"glob"},
		"a.cloud.io/x":              nil,
		"cloud.io:5000/x":           nil,
		"a.b.cloud.io:5000/x":       nil,
		"old.io/x":                  {"old"},
		"broken.io/x":               nil,
		"unknown.io/x":              nil,
		"xreg.io/app":               nil,
	}
	for repo, want := range tests {
		var users []string
		for _, auth := range ring.Lookup(repo) {
			users = append(users, auth.Username)
		}
		if !slices.Equal(users, want) {
			t.Errorf("%s: got %v, want %v", repo, users, want)
		}
	}
	if auth := ring.Lookup("docker.io/x")[0]; auth.Password != "pw:with:colons" {
		t.Errorf("password %q", auth.Password)
	}
	if auth := ring.Lookup("id.io/x")[0]; auth.IdentityToken != "tok" {
		t.Errorf("token %q", auth.IdentityToken)
	}
}

func FuzzDockerConfig(f *testing.F) {
	f.Add([]byte(`{"auths":{"reg.io":{"auth":"dTpw"},"https://x/v1/":{"username":"u"}}}`), "docker.io/library/busybox")
	f.Add([]byte(`{"auths":{"[":{"auth":"dTpw"},"a:b:c/%zz":{}}}`), "a:1/b")
	f.Fuzz(func(t *testing.T, data []byte, repo string) {
		for _, kind := range []corev1.SecretType{corev1.SecretTypeDockerConfigJson, corev1.SecretTypeDockercfg} {
			ring, err := ReadSecrets([]*corev1.Secret{{Type: kind, Data: map[string][]byte{corev1.DockerConfigJsonKey: data, corev1.DockerConfigKey: data}}})
			if err != nil && len(ring) > 0 {
				t.Error("credentials of a broken config")
			}
			for _, auth := range ring.Lookup(repo) {
				if hash(auth) == "" {
					t.Error("no hash")
				}
			}
		}
	})
}

func TestCollect(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	r := newRegistry()
	for _, name := range []string{"used:1", "old:1", "older:1", "referred:1", "pinned:1"} {
		r.here[name] = &cri.Image{Id: "id-" + name, RepoTags: []string{"docker.io/library/" + name}, Size: 40, Pinned: name == "pinned:1"}
	}
	r.used = []string{"id-used:1"}
	p, _ := newPuller(r, nil, Options{Now: func() time.Time { return now }, InUse: func() []string { return []string{"referred:1"} }})
	list, _ := r.ListImages(t.Context(), nil)
	slices.SortFunc(list.Images, func(a, b *cri.Image) int { return strings.Compare(a.Id, b.Id) })
	used, err := p.used(t.Context(), list.Images)
	if err != nil {
		t.Fatal(err)
	}
	p.usage.see(list.Images, used, now)
	if free := p.usage.order(list.Images, used, now); len(free) > 0 {
		t.Errorf("images that have just come may go: %v", free)
	}
	now = now.Add(time.Hour)
	p.usage.touch("id-old:1", now.Add(-time.Minute*30))
	if err := p.free(t.Context(), p.usage.order(list.Images, used, now), 50); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"id-older:1", "id-old:1"}, r.removed); diff != "" {
		t.Error(diff)
	}
	if err := p.free(t.Context(), p.usage.order(list.Images, used, now), 500); err == nil || !strings.Contains(err.Error(), "only 80 of 500 bytes could be freed") {
		t.Errorf("got %v", err)
	}
}

func TestExcess(t *testing.T) {
	tests := []struct{ capacity, available, want uint64 }{
		{100, 50, 0}, {100, 16, 0}, {100, 15, 5}, {100, 0, 20}, {0, 0, 0}, {1000, 100, 100},
	}
	for _, test := range tests {
		if got := excess(test.capacity, test.available, 85, 80); got != test.want {
			t.Errorf("%+v: got %d", test, got)
		}
	}
}
