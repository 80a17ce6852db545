package server_test

import (
	"errors"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/sinawi/sinawi/internal/agent/server"
)

// The API is asked once for each question, and a failure is no answer.
func TestDelegated(t *testing.T) {
	client := fake.NewClientset()
	var tokens, questions int
	var down error
	client.PrependReactor("create", "tokenreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		tokens++
		review := action.(clienttesting.CreateAction).GetObject().(*authenticationv1.TokenReview).DeepCopy()
		review.Status = authenticationv1.TokenReviewStatus{Authenticated: review.Spec.Token == "good", User: authenticationv1.UserInfo{Username: "ann", Groups: []string{"g"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}}}}
		return true, review, down
	})
	client.PrependReactor("create", "subjectaccessreviews", func(action clienttesting.Action) (bool, runtime.Object, error) {
		questions++
		review := action.(clienttesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview).DeepCopy()
		review.Status.Allowed = review.Spec.User == "ann" && review.Spec.Extra["k"][0] == "v" && review.Spec.ResourceAttributes.Subresource == "metrics"
		return true, review, down
	})
	access := server.Delegated(client)
	var ann authenticationv1.UserInfo
	for range 2 {
		user, ok, err := access.Token(t.Context(), "good")
		if err != nil || !ok || user.Username != "ann" {
			t.Fatalf("got %v %v %v", user, ok, err)
		}
		ann = user
		if _, ok, err := access.Token(t.Context(), "bad"); err != nil || ok {
			t.Fatalf("got %v %v", ok, err)
		}
	}
	if tokens != 2 {
		t.Errorf("asked %d times about 2 tokens", tokens)
	}
	for range 2 {
		if ok, err := access.Allowed(t.Context(), ann, authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "metrics"}); err != nil || !ok {
			t.Errorf("got %v %v", ok, err)
		}
		if ok, err := access.Allowed(t.Context(), ann, authorizationv1.ResourceAttributes{Verb: "get", Resource: "nodes", Subresource: "proxy"}); err != nil || ok {
			t.Errorf("got %v %v", ok, err)
		}
	}
	if questions != 2 {
		t.Errorf("asked %d times 2 questions", questions)
	}
	down = errors.New("no server")
	if _, ok, err := access.Token(t.Context(), "other"); err == nil || ok {
		t.Errorf("without a server: %v %v", ok, err)
	}
	if ok, err := access.Allowed(t.Context(), ann, authorizationv1.ResourceAttributes{Verb: "create"}); err == nil || ok {
		t.Errorf("without a server: %v %v", ok, err)
	}
	if user, ok, err := access.Token(t.Context(), "good"); err != nil || !ok || user.Username != "ann" {
		t.Errorf("what is known is forgotten: %v %v", ok, err)
	}
}
