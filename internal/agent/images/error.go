package images

import "time"

// Reasons for which a container waits for its image, as users know them.
const (
	ErrImagePull              = "ErrImagePull"
	ImagePullBackOff          = "ImagePullBackOff"
	ErrImageNeverPull         = "ErrImageNeverPull"
	InvalidImageName          = "InvalidImageName"
	ImageInspectError         = "ImageInspectError"
	RegistryUnavailable       = "RegistryUnavailable"
	SignatureValidationFailed = "SignatureValidationFailed"
)

// Error is why a container cannot have its image now.
type Error struct {
	reason, message string
	retryAt         time.Time
}

// Reason is a word for the container's waiting state.
func (e *Error) Reason() string { return e.reason }

// RetryAt is when to ask again; zero is when the caller likes.
func (e *Error) RetryAt() time.Time { return e.retryAt }

func (e *Error) Error() string { return e.message }
