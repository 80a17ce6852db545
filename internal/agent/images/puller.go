package images

import (
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/record"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
	crierrors "k8s.io/cri-api/pkg/errors"
)

// showError is how long a pull's own error is seen before the back-off after it.
const showError = 2 * time.Second

// Secrets reads the secrets that hold credentials.
type Secrets interface {
	Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error)
}

// Deps are what a Puller works with.
type Deps struct {
	Images   cri.ImageServiceClient
	Runtime  cri.RuntimeServiceClient
	Secrets  Secrets
	Recorder record.EventRecorder
	Log      *slog.Logger
}

// Options say how images are pulled and kept.
type Options struct {
	// MaxParallel is how many pulls run at once; 0 is 5.
	MaxParallel int
	// Record is a file that remembers which images are private; empty: memory.
	Record string
	// HighPercent of the disk used begins a cleaning that goes on to
	// LowPercent; 0 is 85 and 80.
	HighPercent, LowPercent int
	// InUse lists the names of images that pods of the node refer to; nil is none.
	InUse func() []string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Puller brings images in for pods and takes them out again.
type Puller struct {
	Deps
	options  Options
	pulls    *pulls
	ledger   *ledger
	backoffs *backoffs
	usage    *usage
}

// New returns a Puller.
func New(deps Deps, options Options) *Puller {
	options.MaxParallel = cmp.Or(options.MaxParallel, 5)
	options.HighPercent = cmp.Or(options.HighPercent, 85)
	options.LowPercent = cmp.Or(options.LowPercent, 80)
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.InUse == nil {
		options.InUse = func() []string { return nil }
	}
	deps.Log = cmp.Or(deps.Log, slog.Default())
	kept, err := openLedger(options.Record)
	if err != nil {
		deps.Log.Warn("private images will be pulled anew", "error", err)
	}
	return &Puller{Deps: deps, options: options, ledger: kept, usage: newUsage(),
		pulls: newPulls(deps.Images, options.MaxParallel), backoffs: newBackoffs()}
}

// Ensure makes sure that a container's image is here and that its pod may use
// it, and returns the runtime's reference to it. It blocks while the image is
// pulled. An error of type *Error is a state that the container waits in.
func (p *Puller) Ensure(ctx context.Context, pod *corev1.Pod, container *corev1.Container) (string, error) {
	return p.ensure(ctx, &request{pod: pod, about: about(pod, container.Name), image: container.Image, policy: container.ImagePullPolicy})
}

// EnsureImage is Ensure for an image that is mounted as a volume.
func (p *Puller) EnsureImage(ctx context.Context, pod *corev1.Pod, image string, policy corev1.PullPolicy) (string, error) {
	return p.ensure(ctx, &request{pod: pod, about: about(pod, ""), image: image, policy: policy})
}

// request is one call of Ensure.
type request struct {
	pod    *corev1.Pod
	about  *corev1.ObjectReference
	image  string
	policy corev1.PullPolicy
	name   name
	ring   Keyring
	read   bool // ring has been read
}

func (p *Puller) ensure(ctx context.Context, r *request) (string, error) {
	var err error
	if r.name, err = parseName(r.image); err != nil {
		message := fmt.Sprintf("Failed to apply default image tag %q: %v", r.image, err)
		return "", p.fail(r, "InspectFailed", message, &Error{reason: InvalidImageName, message: message})
	}
	spec := &cri.ImageSpec{Image: r.name.image, UserSpecifiedImage: r.image, Annotations: r.pod.Annotations}
	here, err := p.inspect(ctx, spec)
	if err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		message := fmt.Sprintf("Failed to inspect image %q: %v", r.image, err)
		return "", p.fail(r, "InspectFailed", message, &Error{reason: ImageInspectError, message: message})
	}
	if here != nil && r.policy != corev1.PullAlways {
		if p.ledger.allows(here.Id, r.name.repo, func() []string { return p.hashes(ctx, r) }) {
			p.usage.touch(here.Id, p.options.Now())
			p.event(r, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Container image %q already present on machine and can be accessed by the pod", r.image))
			return here.Id, nil
		}
		if r.policy == corev1.PullNever {
			message := fmt.Sprintf("Container image %q is present with pull policy of Never, but the pod's pull secrets do not open it", r.image)
			return "", p.fail(r, ErrImageNeverPull, message, &Error{reason: ErrImageNeverPull, message: message})
		}
	}
	if r.policy == corev1.PullNever {
		message := fmt.Sprintf("Container image %q is not present with pull policy of Never", r.image)
		return "", p.fail(r, ErrImageNeverPull, message, &Error{reason: ErrImageNeverPull, message: message})
	}
	return p.pull(ctx, r, spec)
}

func (p *Puller) pull(ctx context.Context, r *request, spec *cri.ImageSpec) (string, error) {
	began := p.options.Now()
	key := string(r.pod.UID) + "_" + r.image
	if until, last, ok := p.backoffs.in(key, began); ok {
		message := fmt.Sprintf("Back-off pulling image %q", r.image)
		p.event(r, corev1.EventTypeNormal, "BackOff", message)
		return "", p.fail(r, "", "", &Error{reason: ImagePullBackOff, message: message + ": " + last, retryAt: until})
	}
	p.event(r, corev1.EventTypeNormal, "Pulling", fmt.Sprintf("Pulling image %q", r.image))
	done := p.pulls.pull(ctx, spec, p.keyring(ctx, r).Lookup(r.name.repo))
	if done.err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		now := p.options.Now()
		e := pullError(r.image, done.err)
		e.retryAt = now.Add(showError)
		p.backoffs.failed(key, now, e.reason+": "+e.message)
		return "", p.fail(r, "Failed", fmt.Sprintf("Failed to pull image %q: %v", r.image, words(done.err)), e)
	}
	p.backoffs.forget(key)
	now := p.options.Now()
	p.usage.touch(done.ref, now)
	if err := p.ledger.pulled(done.ref, r.name.repo, done.hash); err != nil {
		p.Log.Warn("note how an image was pulled", "image", r.image, "error", err)
	}
	var size uint64
	if here, err := p.inspect(ctx, spec); err == nil && here != nil {
		size = here.Size
	}
	p.event(r, corev1.EventTypeNormal, "Pulled", fmt.Sprintf("Successfully pulled image %q in %v (%v including waiting). Image size: %v bytes.",
		r.image, done.took.Truncate(time.Millisecond), now.Sub(began).Truncate(time.Millisecond), size))
	return done.ref, nil
}

// pullError puts a failed pull into words.
func pullError(image string, err error) *Error {
	text := words(err)
	if rest, ok := strings.CutPrefix(text, crierrors.ErrRegistryUnavailable.Error()); ok {
		return &Error{reason: RegistryUnavailable, message: fmt.Sprintf("image pull failed for %s because the registry is unavailable%s", image, rest)}
	}
	if rest, ok := strings.CutPrefix(text, crierrors.ErrSignatureValidationFailed.Error()); ok {
		return &Error{reason: SignatureValidationFailed, message: fmt.Sprintf("image pull failed for %s because the signature validation failed%s", image, rest)}
	}
	return &Error{reason: ErrImagePull, message: text}
}

// words is what the runtime said. Errors that CRI names stand without the
// words of the protocol, as elsewhere in Kubernetes.
func words(err error) string {
	message := status.Convert(err).Message()
	for _, named := range []error{crierrors.ErrRegistryUnavailable, crierrors.ErrSignatureValidationFailed} {
		if strings.HasPrefix(message, named.Error()) {
			return message
		}
	}
	return err.Error()
}

// inspect answers nil for an image that is not here.
func (p *Puller) inspect(ctx context.Context, spec *cri.ImageSpec) (*cri.Image, error) {
	answer, err := p.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: spec})
	if err != nil {
		if crierrors.IsNotFound(err) {
			return nil, nil
		}
		return nil, err
	}
	return answer.Image, nil
}

func (p *Puller) hashes(ctx context.Context, r *request) []string {
	var hashes []string
	for _, auth := range p.keyring(ctx, r).Lookup(r.name.repo) {
		hashes = append(hashes, hash(auth))
	}
	return hashes
}

// keyring reads the pod's pull secrets, once per request.
func (p *Puller) keyring(ctx context.Context, r *request) Keyring {
	if r.read {
		return r.ring
	}
	r.read = true
	var secrets []*corev1.Secret
	var missing []string
	for _, ref := range r.pod.Spec.ImagePullSecrets {
		if ref.Name == "" {
			continue
		}
		secret, err := p.Secrets.Secret(ctx, r.pod.Namespace, ref.Name)
		if err != nil {
			missing = append(missing, ref.Name)
			continue
		}
		secrets = append(secrets, secret)
	}
	if len(missing) > 0 {
		p.Recorder.Event(about(r.pod, ""), corev1.EventTypeWarning, "FailedToRetrieveImagePullSecret",
			fmt.Sprintf("Unable to retrieve some image pull secrets (%s); attempting to pull the image may not succeed.", strings.Join(missing, ", ")))
	}
	ring, err := ReadSecrets(secrets)
	if err != nil {
		p.Log.Warn("read pull secrets", "pod", r.pod.Namespace+"/"+r.pod.Name, "error", err)
	}
	r.ring = ring
	return ring
}

func (p *Puller) event(r *request, kind, reason, message string) {
	p.Recorder.Event(r.about, kind, reason, message)
}

// fail tells the pod's owner of a problem and of the state it leads to.
func (p *Puller) fail(r *request, reason, message string, e *Error) error {
	if reason != "" {
		p.event(r, corev1.EventTypeWarning, reason, message)
	}
	p.event(r, corev1.EventTypeWarning, "Failed", "Error: "+e.reason)
	return e
}

// about names a pod, or a container in it, for events.
func about(pod *corev1.Pod, container string) *corev1.ObjectReference {
	ref := &corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion}
	is := func(c corev1.Container) bool { return c.Name == container }
	switch {
	case container == "":
	case slices.ContainsFunc(pod.Spec.Containers, is):
		ref.FieldPath = fmt.Sprintf("spec.containers{%s}", container)
	case slices.ContainsFunc(pod.Spec.InitContainers, is):
		ref.FieldPath = fmt.Sprintf("spec.initContainers{%s}", container)
	default:
		ref.FieldPath = fmt.Sprintf("spec.ephemeralContainers{%s}", container)
	}
	return ref
}
