package reviews

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/audit"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/apiserver/pkg/warning"

	"github.com/sinawi/sinawi/internal/apiserver/admission/lookup"
	"github.com/sinawi/sinawi/internal/apiserver/authn/serviceaccount"
	"github.com/sinawi/sinawi/internal/apiserver/plug"
)

const (
	defaultSeconds int64 = 60 * 60
	leastSeconds   int64 = 10 * 60
	mostSeconds    int64 = 1 << 32
	// podSeconds is what the volume that every pod gets asks for. Clients that
	// never look at the file again must not break after an hour, so that such
	// a token lives for a year and is marked.
	podSeconds = defaultSeconds + 7
	podLife    = 365 * 24 * time.Hour
)

// tokenRequests is the storage of serviceaccounts/token: creating one signs a
// token.
type tokenRequests struct {
	issuer                         *serviceaccount.Issuer
	audiences                      []string
	accounts, pods, nodes, secrets rest.Getter
	maxSeconds                     int64 // 0: no bound
	extend                         bool
	now                            func() time.Time
}

func newTokenRequests(h *plug.Host, o Options) (*tokenRequests, error) {
	if o.Issuer == nil {
		return nil, errors.New("token requests: no issuer")
	}
	t := &tokenRequests{issuer: o.Issuer, audiences: o.Audiences, now: time.Now,
		maxSeconds: int64(o.MaxLifetime / time.Second), extend: !o.NoExtension}
	for _, s := range []struct {
		resource string
		to       *rest.Getter
	}{{"serviceaccounts", &t.accounts}, {"pods", &t.pods}, {"nodes", &t.nodes}, {"secrets", &t.secrets}} {
		store := h.Store("", s.resource)
		if store == nil {
			return nil, fmt.Errorf("token requests: %s are not served", s.resource)
		}
		*s.to = store
	}
	return t, nil
}

// GroupVersionKind names the kind, which is of another group than its path.
func (t *tokenRequests) GroupVersionKind(schema.GroupVersion) schema.GroupVersionKind {
	return authenticationv1.SchemeGroupVersion.WithKind("TokenRequest")
}

// New returns an empty request.
func (t *tokenRequests) New() runtime.Object { return &authenticationv1.TokenRequest{} }

// Destroy does nothing: nothing is stored.
func (t *tokenRequests) Destroy() {}

// Create implements rest.NamedCreater.
func (t *tokenRequests) Create(ctx context.Context, name string, obj runtime.Object, validate rest.ValidateObjectFunc, _ *metav1.CreateOptions) (runtime.Object, error) {
	q, ok := obj.(*authenticationv1.TokenRequest)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a TokenRequest: %#v", obj))
	}
	namespace, ok := request.NamespaceFrom(ctx)
	if !ok || namespace == "" {
		return nil, apierrors.NewBadRequest("namespace is required")
	}
	// The expiry that the answer tells must not lie after that in the token.
	now := t.now()
	if err := t.complete(q, namespace, name, now); err != nil {
		return nil, err
	}
	account, err := lookUp[*corev1.ServiceAccount](ctx, t.accounts, "serviceaccounts", namespace, name)
	if err != nil {
		return nil, err
	}
	if validate != nil {
		if err := validate(ctx, q.DeepCopyObject()); err != nil {
			return nil, err
		}
	}
	t.shorten(ctx, q)
	grant := serviceaccount.Grant{
		Namespace: namespace,
		Account:   serviceaccount.Object{Name: account.Name, UID: string(account.UID)},
		Audiences: q.Spec.Audiences,
		Lifetime:  time.Duration(*q.Spec.ExpirationSeconds) * time.Second,
	}
	if ref := q.Spec.BoundObjectRef; ref != nil {
		if err := t.bind(ctx, name, ref, &grant); err != nil {
			return nil, err
		}
		if t.extend && ref.Kind == "Pod" && *q.Spec.ExpirationSeconds == podSeconds && t.forServer(q.Spec.Audiences) {
			grant.WarnAfter, grant.Lifetime = grant.Lifetime, podLife
		}
	}
	token, id, err := t.issuer.Issue(grant)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	audit.AddAuditAnnotation(ctx, "authentication.kubernetes.io/issued-credential-id", "JTI="+id)
	q.Status = authenticationv1.TokenRequestStatus{
		Token:               token,
		ExpirationTimestamp: metav1.Time{Time: now.Add(time.Duration(*q.Spec.ExpirationSeconds) * time.Second)},
	}
	return q, nil
}

// complete fills in what the request leaves to the server, and checks it.
func (t *tokenRequests) complete(q *authenticationv1.TokenRequest, namespace, name string, now time.Time) error {
	var errs field.ErrorList
	kind := authenticationv1.SchemeGroupVersion.WithKind("TokenRequest").GroupKind()
	if q.Name != "" && q.Name != name {
		return apierrors.NewInvalid(kind, name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "name"), q.Name, "must match the service account name if specified")})
	}
	if q.Namespace != "" && q.Namespace != namespace {
		return apierrors.NewInvalid(kind, name, field.ErrorList{
			field.Invalid(field.NewPath("metadata", "namespace"), q.Namespace, "must match the service account namespace if specified")})
	}
	q.Name, q.Namespace, q.CreationTimestamp = name, namespace, metav1.NewTime(now)
	q.Status = authenticationv1.TokenRequestStatus{}
	if len(q.Spec.Audiences) == 0 {
		q.Spec.Audiences = slices.Clone(t.audiences)
	}
	if q.Spec.ExpirationSeconds == nil {
		seconds := defaultSeconds
		q.Spec.ExpirationSeconds = &seconds
	}
	path := field.NewPath("spec", "expirationSeconds")
	if *q.Spec.ExpirationSeconds < leastSeconds {
		errs = append(errs, field.Invalid(path, *q.Spec.ExpirationSeconds, "may not specify a duration less than 10 minutes"))
	}
	if *q.Spec.ExpirationSeconds > mostSeconds {
		errs = append(errs, field.Invalid(path, *q.Spec.ExpirationSeconds, "may not specify a duration larger than 2^32 seconds"))
	}
	if len(errs) > 0 {
		return apierrors.NewInvalid(kind, "", errs)
	}
	return nil
}

// shorten holds a request to the longest life that this server gives.
func (t *tokenRequests) shorten(ctx context.Context, q *authenticationv1.TokenRequest) {
	asked := *q.Spec.ExpirationSeconds
	if t.maxSeconds == 0 || asked <= t.maxSeconds {
		return
	}
	warning.AddWarning(ctx, "", fmt.Sprintf("requested expiration of %d seconds shortened to %d seconds", asked, t.maxSeconds))
	*q.Spec.ExpirationSeconds = t.maxSeconds
}

// forServer says whether a token is meant for this server alone.
func (t *tokenRequests) forServer(audiences []string) bool {
	return !slices.ContainsFunc(audiences, func(a string) bool { return !slices.Contains(t.audiences, a) })
}

// bind ties a token to the object that ref names: it is good as long as that
// object is there.
func (t *tokenRequests) bind(ctx context.Context, account string, ref *authenticationv1.BoundObjectReference, grant *serviceaccount.Grant) error {
	gvk := schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind)
	var uid types.UID
	switch {
	case gvk.Group == "" && gvk.Kind == "Pod":
		pod, err := lookUp[*corev1.Pod](ctx, t.pods, "pods", grant.Namespace, ref.Name)
		if err != nil {
			return err
		}
		if pod.Spec.ServiceAccountName != account {
			return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token for serviceaccount %q to pod running with serviceaccount %q", account, pod.Spec.ServiceAccountName))
		}
		uid = pod.UID
		grant.Pod = &serviceaccount.Object{Name: pod.Name, UID: string(uid)}
		if grant.Node, err = t.nodeOf(ctx, pod); err != nil {
			return err
		}
	case gvk.Group == "" && gvk.Kind == "Secret":
		secret, err := lookUp[*corev1.Secret](ctx, t.secrets, "secrets", grant.Namespace, ref.Name)
		if err != nil {
			return err
		}
		uid = secret.UID
		grant.Secret = &serviceaccount.Object{Name: secret.Name, UID: string(uid)}
	case gvk.Group == "" && gvk.Kind == "Node":
		node, err := lookUp[*corev1.Node](ctx, t.nodes, "nodes", "", ref.Name)
		if err != nil {
			return err
		}
		uid = node.UID
		grant.Node = &serviceaccount.Object{Name: node.Name, UID: string(uid)}
	default:
		return apierrors.NewBadRequest(fmt.Sprintf("cannot bind token to object of type %s", gvk.String()))
	}
	if ref.UID != "" && ref.UID != uid {
		return apierrors.NewConflict(schema.GroupResource{Group: gvk.Group, Resource: gvk.Kind}, ref.Name,
			fmt.Errorf("the UID in the bound object reference (%s) does not match the UID in record. The object might have been deleted and then recreated", ref.UID))
	}
	return nil
}

// nodeOf names the node of a pod, for the record; without uid when the node
// itself is not there.
func (t *tokenRequests) nodeOf(ctx context.Context, pod *corev1.Pod) (*serviceaccount.Object, error) {
	if pod.Spec.NodeName == "" {
		return nil, nil
	}
	node, err := lookUp[*corev1.Node](ctx, t.nodes, "nodes", "", pod.Spec.NodeName)
	switch {
	case apierrors.IsNotFound(err):
		return &serviceaccount.Object{Name: pod.Spec.NodeName}, nil
	case err != nil:
		return nil, err
	}
	return &serviceaccount.Object{Name: node.Name, UID: string(node.UID)}, nil
}

// lookUp reads an object as it is now: a token must not outlive what it is
// bound to by the lag of a cache.
func lookUp[T runtime.Object](ctx context.Context, from rest.Getter, resource, namespace, name string) (T, error) {
	var none T
	obj, err := from.Get(lookup.Context(ctx, lookup.Core(resource), namespace), name, &metav1.GetOptions{})
	if err != nil {
		return none, err
	}
	typed, ok := obj.(T)
	if !ok {
		return none, apierrors.NewInternalError(fmt.Errorf("unexpected type %T", obj))
	}
	return typed, nil
}
