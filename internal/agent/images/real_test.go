package images_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/record"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/sinawi/sinawi/internal/agent/images"
	"github.com/sinawi/sinawi/internal/runtime/runtimetest"
	labimages "github.com/sinawi/sinawi/lab/images"
)

func TestMain(m *testing.M) { runtimetest.Main(m) }

type oneSecret struct{ secret *corev1.Secret }

func (s oneSecret) Secret(context.Context, string, string) (*corev1.Secret, error) {
	return s.secret, nil
}

// A real runtime pulls from a real registry, with a login and without.
func TestRealPulls(t *testing.T) {
	r := runtimetest.Start(t)
	private := labimages.Registry(t, nil)
	login := &labimages.Login{User: "ann", Password: "s3:cret"}
	locked := labimages.Registry(t, login)
	spec := labimages.BusyBox(t)
	public := private.Push(t, spec, "team/app:1")
	spec.Env = append(spec.Env, "SECRET=1")
	closed := locked.Push(t, spec, "team/vault:1")

	auth := base64.StdEncoding.EncodeToString([]byte("ann:s3:cret"))
	secret := &corev1.Secret{Type: corev1.SecretTypeDockerConfigJson, Data: map[string][]byte{
		corev1.DockerConfigJsonKey: fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, locked.Host, auth)}}
	p := images.New(images.Deps{Images: r.Images, Runtime: r.Runtime, Secrets: oneSecret{secret},
		Recorder: record.NewFakeRecorder(1000), Log: slog.New(slog.DiscardHandler)}, images.Options{})
	ensure := func(image string, policy corev1.PullPolicy, secrets ...corev1.LocalObjectReference) (string, error) {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: "default", UID: "u"}, Spec: corev1.PodSpec{ImagePullSecrets: secrets}}
		return p.Ensure(t.Context(), pod, &corev1.Container{Name: "c", Image: image, ImagePullPolicy: policy})
	}
	// Many at once are one pull.
	var all sync.WaitGroup
	refs := make([]string, 8)
	for i := range refs {
		all.Go(func() {
			var err error
			if refs[i], err = ensure(public, corev1.PullIfNotPresent); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if slices.Sort(refs); len(slices.Compact(refs)) != 1 || !strings.HasPrefix(refs[0], "sha256:") {
		t.Errorf("references %v", refs)
	}
	requests := private.Requests()
	if _, err := ensure(public, corev1.PullIfNotPresent); err != nil || private.Requests() != requests {
		t.Errorf("what is here was asked for again: %v", err)
	}
	if _, err := ensure(public, corev1.PullAlways); err != nil || private.Requests() == requests {
		t.Errorf("what is always to be pulled was not asked for: %v", err)
	}

	var waits *images.Error
	if _, err := ensure(closed, corev1.PullIfNotPresent); !errors.As(err, &waits) || waits.Reason() != images.ErrImagePull || !strings.Contains(waits.Error(), "pull access denied") {
		t.Errorf("without a login: %v", err)
	}
	if _, err := ensure(closed, corev1.PullIfNotPresent); !errors.As(err, &waits) || waits.Reason() != images.ImagePullBackOff {
		t.Errorf("again: %v", err)
	}
	// The back-off is the pod's and the image's, so another pod may try.
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "other", Namespace: "default", UID: "other"}, Spec: corev1.PodSpec{ImagePullSecrets: []corev1.LocalObjectReference{{Name: "login"}}}}
	vault, err := p.Ensure(t.Context(), pod, &corev1.Container{Name: "c", Image: closed, ImagePullPolicy: corev1.PullIfNotPresent})
	if err != nil || vault == "" || vault == refs[0] {
		t.Errorf("with a login: %q %v", vault, err)
	}
	if _, err := ensure(closed, corev1.PullNever); !errors.As(err, &waits) || waits.Reason() != images.ErrImageNeverPull {
		t.Errorf("what another was allowed to pull: %v", err)
	}
	if _, err := ensure(private.Host+"/team/none:1", corev1.PullAlways); !errors.As(err, &waits) || waits.Reason() != images.ErrImagePull || !strings.Contains(waits.Error(), "not found") {
		t.Errorf("what the registry does not have: %v", err)
	}

	list, err := p.List(t.Context())
	if err != nil || !slices.ContainsFunc(list, func(i corev1.ContainerImage) bool { return slices.Contains(i.Names, public) && i.SizeBytes > 0 }) {
		t.Errorf("list %v %v", list, err)
	}
	if err := p.Collect(t.Context()); err != nil && !strings.Contains(err.Error(), "could be freed") {
		t.Error(err)
	}
	// The pause image is there and pinned: collection never takes it.
	answer, err := r.Images.ListImages(t.Context(), &cri.ListImagesRequest{})
	if err != nil || !slices.ContainsFunc(answer.Images, func(i *cri.Image) bool { return i.Pinned }) {
		t.Errorf("no image is pinned: %v", err)
	}
}
