"""Teachers: trained here, or taken from elsewhere with what their pixels and outputs mean."""
